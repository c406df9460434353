"""The launcher's errors: one line for the person at the terminal, without a traceback."""

from diabetes_platform.clients.errors import ServiceError


class PlatformError(RuntimeError):
    """It could not run, and the person can act on that; `str(error)` says all of it."""


class FailedError(PlatformError):
    """It ran, and the graph, a check or a patient failed."""


USER_ERRORS = (PlatformError, ServiceError)
"""What says all of it in one line: the launcher's own errors, and those of the services it asks."""
