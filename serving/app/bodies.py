"""Request bodies: the declared media type, a size limit, and the dependencies that read them."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from serving.app.problems import PreparedResponse, body_too_large, unsupported_media_type


class BodyTooLargeError(Exception):
    """The body has more than `limit` bytes; the rest was not read."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


def content_type(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the declared media type in lower case, without parameters; empty if absent."""
    for name, value in headers:
        if name == b"content-type":
            return value.partition(b";")[0].strip().lower()
    return b""


def is_json(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether the body is declared as JSON."""
    return content_type(headers) == b"application/json"


async def read_body(receive: Receive, limit: int) -> bytes:
    """Return the complete body.

    Raises BodyTooLargeError as soon as the body exceeds `limit` bytes, and starlette's
    ClientDisconnect if the client leaves before the end.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise BodyTooLargeError(limit)
        if not message.get("more_body", False):
            return chunk if not chunks else b"".join([*chunks, chunk])
        chunks.append(chunk)


async def read_json_body(request: Request) -> bytes | PreparedResponse:
    """Return the body, or the problem if it is not declared as JSON or is too large."""
    if not is_json(request.scope["headers"]):
        return unsupported_media_type(content_type(request.scope["headers"]).decode("latin-1"))
    return await read_limited_body(request)


async def read_limited_body(request: Request) -> bytes | PreparedResponse:
    """Return the body of any media type, or the problem if it is too large."""
    try:
        return await read_body(request.receive, request.app.state.settings.api_max_body_bytes)
    except BodyTooLargeError as error:
        return body_too_large(error.limit)


JsonBody = Annotated[bytes | PreparedResponse, Depends(read_json_body)]
