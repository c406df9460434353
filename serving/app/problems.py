"""Error responses: RFC 9457 `application/problem+json`, for every kind of error.

A problem echoes the sender's own values; nothing here is logged.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from typing_extensions import TypedDict

from serving.app.validation import FieldError, field_error

PROBLEM_JSON = "application/problem+json"
JSON = "application/json"
RETRY_SECONDS = 5
"""The `Retry-After` of a response in an outage."""

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


class Problem(TypedDict):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError]


class ProblemError(Exception):
    """An error that the client gets as a problem document.

    `kind` is the problem's type if the status alone does not imply it; `retry` adds `Retry-After`.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[FieldError] = (),
        *,
        kind: str | None = None,
        retry: bool = False,
    ) -> None:
        super().__init__(status)
        kind = kind or _TYPES.get(status)
        self.status = status
        self.document = Problem(
            type=f"urn:diabetes-platform:problem:{kind}" if kind else "about:blank",
            title=kind.replace("-", " ").capitalize() if kind else HTTPStatus(status).phrase,
            status=status,
            detail=detail,
            errors=list(errors),
        )
        self._headers = {**API_HEADERS, "retry-after": str(RETRY_SECONDS)} if retry else API_HEADERS

    def body(self) -> bytes:
        """Return the document as JSON."""
        return to_json(self.document)

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """Return the complete response, with `headers` besides the API's own."""
        return Response(
            self.body(), self.status, {**self._headers, **(headers or {})}, PROBLEM_JSON
        )


def server_failure() -> ProblemError:
    """Return the problem of an error in this server."""
    return ProblemError(500, "The server failed to process this request. Its log has the details.")


def install_problem_handlers(api: FastAPI) -> None:
    """Make `api` send each error as a problem."""

    @api.exception_handler(ProblemError)
    async def send_problem(_request: Request, error: ProblemError) -> Response:
        return error.response()

    @api.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        detail = error.detail
        if detail == HTTPStatus(error.status_code).phrase:
            detail = f"{request.method} {request.url.path}: {detail.lower()}."
        return ProblemError(error.status_code, detail).response(error.headers)

    @api.exception_handler(RequestValidationError)
    async def invalid_parameters(_request: Request, error: RequestValidationError) -> Response:
        errors = [_parameter_error(details) for details in error.errors()]
        return ProblemError(422, "A parameter or header is not allowed.", errors).response()

    @api.exception_handler(ClientDisconnect)
    async def client_disconnected(_request: Request, _error: ClientDisconnect) -> Response:
        # No client reads it, and the server has not failed.
        return Response(status_code=400)

    @api.exception_handler(Exception)
    async def unexpected_error(_request: Request, _error: Exception) -> Response:
        # Starlette re-raises the error to the server, which logs it.
        return server_failure().response()


def _parameter_error(details: dict[str, Any]) -> FieldError:
    allowed = "true or false" if details["type"] == "bool_parsing" else str(details["msg"])
    return field_error(str(details["loc"][-1]), details["type"], details["input"], allowed)
