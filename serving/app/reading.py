"""The bodies of requests as dependencies of routes: the bytes, or why they were not read."""

from typing import Annotated

from fastapi import Depends, Request

from serving.app.body import BodyTooLargeError, content_type, is_json, read_body
from serving.app.problems import Answer, body_too_large, unsupported_media_type


async def json_body(request: Request) -> bytes | Answer:
    """Return the body, or why it was not read."""
    if not is_json(request.scope["headers"]):
        return unsupported_media_type(content_type(request.scope["headers"]).decode("latin-1"))
    return await limited_body(request)


async def limited_body(request: Request) -> bytes | Answer:
    """Return the body of any type, or the refusal of one that is too large."""
    try:
        return await read_body(request.receive, request.app.state.settings.api_max_body_bytes)
    except BodyTooLargeError as error:
        return body_too_large(error.limit)


JsonBody = Annotated[bytes | Answer, Depends(json_body)]
