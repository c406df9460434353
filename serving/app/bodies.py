"""Request bodies: the declared media type, a size limit, and the dependency that reads JSON."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from serving.app.problems import JSON, ProblemError
from serving.app.validation import field_error


def content_type(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the declared media type in lower case, without parameters; empty if absent."""
    for name, value in headers:
        if name == b"content-type":
            return value.partition(b";")[0].strip().lower().decode("latin-1")
    return ""


async def read_body(receive: Receive, limit: int) -> bytes:
    """Return the complete body.

    Raises ProblemError as soon as the body exceeds `limit` bytes, without reading the rest, and
    starlette's ClientDisconnect if the client leaves before the end.
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
            error = field_error(
                "body", "too_large", f"more than {limit} bytes", f"at most {limit} bytes"
            )
            raise ProblemError(413, f"The body is larger than {limit} bytes.", [error])
        if not message.get("more_body", False):
            return chunk if not chunks else b"".join([*chunks, chunk])
        chunks.append(chunk)


async def read_limited_body(request: Request) -> bytes:
    """Return the body of any media type; raise ProblemError if it is too large."""
    return await read_body(request.receive, request.app.state.settings.api_max_body_bytes)


async def read_json_body(request: Request) -> bytes:
    """Return the body; raise ProblemError if it is not declared as JSON or is too large."""
    media_type = content_type(request.scope["headers"])
    if media_type != JSON:
        error = field_error("content-type", "unsupported_media_type", media_type, JSON)
        raise ProblemError(415, f"Send the body as {JSON}.", [error])
    return await read_limited_body(request)


JsonBody = Annotated[bytes, Depends(read_json_body)]
