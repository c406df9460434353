"""What goes wrong between the platform and a service that it asks, in one line each."""


class ServiceError(RuntimeError):
    """A service could not be asked; `str(error)` says all of it."""


class RefusedError(ServiceError):
    """It answered that it will not, or cannot."""
