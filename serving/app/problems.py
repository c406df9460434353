"""Refusals as the API sends them: RFC 9457 `application/problem+json`, for every kind of error.

A problem shows the sender its own values; nothing here is logged.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from serving.app.body import ClientGoneError
from serving.app.models import FieldError, Problem
from serving.app.verdicts import echo

PROBLEM_JSON = "application/problem+json"
JSON = "application/json"

API_HEADERS = {
    # Answers are about a patient: no cache keeps them.
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}

# Python's own phrases change between versions (422): callers may rely on these.
_KINDS = {
    404: "not-found",
    405: "method-not-allowed",
    413: "body-too-large",
    415: "unsupported-media-type",
    422: "not-allowed",
    500: "server-failure",
    503: "no-model",
}
UNAVAILABLE = "database-unavailable"
MISMATCH = "database-mismatch"
NO_DATABASE = "no-database"
TOO_MANY_STREAMS = "too-many-streams"


class Answer(NamedTuple):
    """A finished answer: what the fast path sends and a route returns."""

    status: int
    media_type: str
    body: bytes

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """Return it as Starlette sends it, with `headers` besides the API's own."""
        return Response(self.body, self.status, {**API_HEADERS, **(headers or {})}, self.media_type)


def problem(
    status: int, detail: str, errors: Sequence[FieldError] = (), *, kind: str | None = None
) -> Answer:
    """Return the refusal with `status` and its reasons; `kind` where the status says too little."""
    known = kind or _KINDS.get(status)
    document = Problem(
        type=f"urn:diabetes-platform:problem:{known}" if known else "about:blank",
        title=known.replace("-", " ").capitalize() if known else HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        errors=list(errors),
    )
    return Answer(status, PROBLEM_JSON, to_json(document))


def unsupported_media_type(given: str) -> Answer:
    """Return the refusal of a body that does not say that it is JSON."""
    error = FieldError(
        field="content-type", code="unsupported_media_type", given=echo(given), allowed=JSON
    )
    return problem(415, f"Send the body as {JSON}.", [error])


def body_too_large(limit: int) -> Answer:
    """Return the refusal of a body of more than `limit` bytes, which was not read to its end."""
    error = FieldError(
        field="body",
        code="too_large",
        given=f"more than {limit} bytes",
        allowed=f"at most {limit} bytes",
    )
    return problem(413, f"The body is larger than {limit} bytes.", [error])


def install_problem_handlers(api: FastAPI) -> None:
    """Make `api` answer each of its own errors as a problem."""

    @api.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        detail = error.detail
        if detail == HTTPStatus(error.status_code).phrase:
            detail = f"{request.method} {request.url.path}: {detail.lower()}."
        response = problem(error.status_code, detail).response()
        response.headers.update(error.headers or {})
        return response

    @api.exception_handler(RequestValidationError)
    async def invalid_parameters(_request: Request, error: RequestValidationError) -> Response:
        errors = [_parameter_error(one) for one in error.errors()]
        return problem(422, "A parameter or header is not allowed.", errors).response()

    @api.exception_handler(ClientGoneError)
    async def gone(_request: Request, _error: ClientGoneError) -> Response:
        # Nobody reads it, and the server has not failed.
        return Response(status_code=400)

    @api.exception_handler(Exception)
    async def failed(_request: Request, _error: Exception) -> Response:
        # Starlette hands the error on to the server, which logs it.
        return failure().response()


def _parameter_error(error: dict[str, Any]) -> FieldError:
    return FieldError(
        field=str(error["loc"][-1]),
        code=error["type"],
        given=echo(error["input"]),
        allowed="true or false" if error["type"] == "bool_parsing" else str(error["msg"]),
    )


def failure() -> Answer:
    """Return what a caller learns of a fault of ours: that it is one."""
    return problem(500, "The server failed on this request; its log says why.")
