"""TCP ports of this machine: checking, finding a free one, and naming the owner."""

import errno
import socket

from diabetes_platform.errors import PlatformError

HOST = "127.0.0.1"


def require_free(port: int, service: str) -> None:
    """Raise PlatformError with the owner of `port` if it cannot be bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                owner = port_owner(port) or "a process of another user"
                raise PlatformError(
                    f"{service}: port {port} is in use by {owner}; stop it, or move all of the "
                    "platform's ports with PLATFORM_PORT_OFFSET, for example "
                    "PLATFORM_PORT_OFFSET=100"
                ) from error
            raise PlatformError(f"{service}: port {port} cannot be opened: {error}") from error


def listens(port: int, host: str = HOST) -> bool:
    """Whether a process accepts connections on `port`."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def free_port() -> int:
    """Return a port that is currently free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def port_owner(port: int) -> str | None:
    """Return the name and pid of the listener on `port`, None if this user may not see it."""
    # Imported here, because a supervised server must start quickly.
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.pid is None:
                continue
            # psutil's type of an address allows an empty one.
            if connection.laddr and connection.laddr.port == port:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        # macOS shows connections to root only.
        return None
    return None
