"""Reading the body of a request: its declared type and a limit on its size."""

from collections.abc import Iterable

from starlette.types import Receive


class ClientGoneError(Exception):
    """The client left before its request was complete; there is nobody to answer."""


class BodyTooLargeError(Exception):
    """The body has more than `limit` bytes; the rest was not read."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


def content_type(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the declared media type in lower case, without parameters; empty where absent."""
    for name, value in headers:
        if name == b"content-type":
            return value.partition(b";")[0].strip().lower()
    return b""


def is_json(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell whether the body is declared as JSON."""
    return content_type(headers) == b"application/json"


async def read_body(receive: Receive, limit: int) -> bytes:
    """Return the whole body; raises BodyTooLargeError as soon as it is, and ClientGoneError."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise BodyTooLargeError(limit)
        if not message.get("more_body", False):
            return part if not parts else b"".join([*parts, part])
        parts.append(part)
