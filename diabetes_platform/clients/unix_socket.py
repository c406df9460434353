"""HTTP over a Unix socket, which the supervisor listens on."""

import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path


def request(path: Path, method: str, target: str, seconds: float) -> tuple[int, bytes] | None:
    """Return the status and the body of the answer; None if nobody answers at the socket."""
    connection = _Connection(path, seconds)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


class _Connection(HTTPConnection):
    """An HTTP connection through a Unix socket; httpx leaves its socket open if nothing listens."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
