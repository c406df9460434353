"""Error responses: RFC 9457 `application/problem+json`, for every kind of error.

A problem echoes the sender's own values; nothing here is logged.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from typing_extensions import TypedDict

from serving.app.validation import FieldError, echo

PROBLEM_JSON = "application/problem+json"
JSON = "application/json"

API_HEADERS = {
    # Responses hold patients' data: they must not be cached.
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}

# Python's own phrases change between versions (422); callers may rely on these.
_TYPES = {
    404: "not-found",
    405: "method-not-allowed",
    413: "body-too-large",
    415: "unsupported-media-type",
    422: "not-allowed",
    500: "server-failure",
    503: "no-model",
}
DATABASE_UNAVAILABLE = "database-unavailable"
DATABASE_MISMATCH = "database-mismatch"
NO_DATABASE = "no-database"
TOO_MANY_STREAMS = "too-many-streams"


class Problem(TypedDict):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError]


class PreparedResponse(NamedTuple):
    """A complete response, independent of the framework."""

    status: int
    media_type: str
    body: bytes

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """Return it as a Starlette response, with `headers` besides the API's own."""
        return Response(self.body, self.status, {**API_HEADERS, **(headers or {})}, self.media_type)


def problem(
    status: int, detail: str, errors: Sequence[FieldError] = (), *, kind: str | None = None
) -> PreparedResponse:
    """Return a problem; `kind` is its type if the status alone does not imply it."""
    kind = kind or _TYPES.get(status)
    document = Problem(
        type=f"urn:diabetes-platform:problem:{kind}" if kind else "about:blank",
        title=kind.replace("-", " ").capitalize() if kind else HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        errors=list(errors),
    )
    return PreparedResponse(status, PROBLEM_JSON, to_json(document))


def unsupported_media_type(media_type: str) -> PreparedResponse:
    """Return the problem of a body that is not declared as JSON."""
    error = FieldError(
        field="content-type", code="unsupported_media_type", given=echo(media_type), allowed=JSON
    )
    return problem(415, f"Send the body as {JSON}.", [error])


def body_too_large(limit: int) -> PreparedResponse:
    """Return the problem of a body of more than `limit` bytes."""
    error = FieldError(
        field="body",
        code="too_large",
        given=f"more than {limit} bytes",
        allowed=f"at most {limit} bytes",
    )
    return problem(413, f"The body is larger than {limit} bytes.", [error])


def no_model() -> PreparedResponse:
    """Return the problem of a server without a model."""
    return problem(503, "No model has been released yet. GET /ready shows when one is in use.")


def server_failure() -> PreparedResponse:
    """Return the problem of an error in this server; its log has the details."""
    return problem(500, "The server failed to process this request. Its log has the details.")


def install_problem_handlers(api: FastAPI) -> None:
    """Make `api` send each of its own errors as a problem."""

    @api.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        detail = error.detail
        if detail == HTTPStatus(error.status_code).phrase:
            detail = f"{request.method} {request.url.path}: {detail.lower()}."
        response = problem(error.status_code, detail).response()
        response.headers.update(error.headers or {})
        return response

    @api.exception_handler(RequestValidationError)
    async def invalid_parameters(_request: Request, error: RequestValidationError) -> Response:
        errors = [_parameter_error(details) for details in error.errors()]
        return problem(422, "A parameter or header is not allowed.", errors).response()

    @api.exception_handler(ClientDisconnect)
    async def client_disconnected(_request: Request, _error: ClientDisconnect) -> Response:
        # No client reads it, and the server has not failed.
        return Response(status_code=400)

    @api.exception_handler(Exception)
    async def unexpected_error(_request: Request, _error: Exception) -> Response:
        # Starlette re-raises the error to the server, which logs it.
        return server_failure().response()


def _parameter_error(details: dict[str, Any]) -> FieldError:
    return FieldError(
        field=str(details["loc"][-1]),
        code=details["type"],
        given=echo(details["input"]),
        allowed="true or false" if details["type"] == "bool_parsing" else str(details["msg"]),
    )
