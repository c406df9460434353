"""Errors that a command shows as one line, without a traceback."""

from diabetes_platform.clients.errors import ServiceError


class PlatformError(RuntimeError):
    """A command cannot run, and the user can do something about it; the message says what."""


class FailedError(PlatformError):
    """A command ran, and the run, a check or a prediction failed."""


USER_ERRORS = (PlatformError, ServiceError)
"""The errors that are shown as one line: of the platform and of its services."""
COULD_NOT_RUN = 3
"""The exit code of a server process that cannot start."""
