"""Errors of the service clients; each message is one complete line."""


class ServiceError(RuntimeError):
    """A service does not answer, or answers with an error."""


class ServiceResponseError(ServiceError):
    """A service answered with an error; the message is its own."""


class ServiceUnreachableError(ServiceError):
    """No connection to a service can be made."""
