"""`POST /predict` and `POST /predict/batch`: validation, prediction and response.

A plain `POST /predict` is served by `PredictFastPath`, everything else by the routes. Both call
`predict`, so their responses are the same to the byte.
"""

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import TypedDict

from serving.app.bodies import BodyTooLargeError, JsonBody, is_json, read_body
from serving.app.champion import ChampionWatcher
from serving.app.dependencies import WatcherDep
from serving.app.metrics import Metrics
from serving.app.openapi import PATIENT_BODY, PATIENT_REF, json_body, problem_responses
from serving.app.problems import (
    API_HEADERS,
    JSON,
    PreparedResponse,
    body_too_large,
    no_model,
    problem,
    server_failure,
)
from serving.app.served_model import Prediction, ServedModel
from serving.app.validation import (
    EXAMPLE_PATIENT,
    NOT_JSON,
    FieldError,
    Patient,
    echo,
    field_errors,
)

PREDICT = "/predict"
MAX_BATCH = 1000
"""The maximum number of patients in one call of `/predict/batch`."""

logger = logging.getLogger("serving.predict")

router = APIRouter(tags=["prediction"])

WithContributions = Annotated[
    bool,
    Query(
        alias="contributions",
        description=(
            "Also return what moved the prediction: SHAP values in log-odds, which add up to the "
            "log-odds of the probability. Costs about twenty times the prediction itself."
        ),
    ),
]


class RejectedPatient(TypedDict):
    """The errors of a patient in a batch."""

    errors: list[FieldError]


class BatchResponse(TypedDict):
    """One entry per patient, in the order received: a prediction or the patient's errors."""

    predicted: int
    refused: int
    results: list[Prediction | RejectedPatient]


_BATCH_BODY = json_body(
    {"type": "array", "items": PATIENT_REF, "minItems": 1, "maxItems": MAX_BATCH},
    [EXAMPLE_PATIENT],
)

_validate_json = Patient.__pydantic_validator__.validate_json
_validate_python = Patient.__pydantic_validator__.validate_python
_prediction_to_json = TypeAdapter(Prediction).serializer.to_json
_batch_to_json = TypeAdapter(BatchResponse).serializer.to_json

_FAST_HEADERS = [(name.encode(), value.encode()) for name, value in API_HEADERS.items()]


@router.post(
    PREDICT,
    response_model=Prediction,
    response_model_exclude_unset=True,
    responses=problem_responses(413, 415, 422, 503),
    openapi_extra=PATIENT_BODY,
    summary="Predict one patient",
)
async def predict_one(
    watcher: WatcherDep, body: JsonBody, *, with_contributions: WithContributions = False
) -> Response:
    """Return the risk of one patient, or all errors of the request."""
    return await _respond(predict, watcher, body, with_contributions=with_contributions)


@router.post(
    "/predict/batch",
    response_model=BatchResponse,
    responses=problem_responses(413, 415, 422, 503),
    openapi_extra=_BATCH_BODY,
    summary=f"Predict up to {MAX_BATCH} patients",
)
async def predict_many(
    watcher: WatcherDep, body: JsonBody, *, with_contributions: WithContributions = False
) -> Response:
    """Predict each patient of a list, in order: an invalid patient does not affect the others."""
    return await _respond(predict_batch, watcher, body, with_contributions=with_contributions)


async def _respond(
    handle: Callable[..., PreparedResponse],
    watcher: ChampionWatcher,
    body: bytes | PreparedResponse,
    *,
    with_contributions: bool,
) -> Response:
    if isinstance(body, PreparedResponse):
        return body.response()
    # A large batch takes milliseconds: the event loop serves other requests meanwhile.
    prepared = await asyncio.to_thread(
        handle, watcher.current, body, with_contributions=with_contributions
    )
    return prepared.response()


def predict(
    model: ServedModel | None, body: bytes, *, with_contributions: bool = False
) -> PreparedResponse:
    """Return the prediction for one patient (200), all errors (422) or that no model is in use."""
    if model is None:
        return no_model()
    try:
        patient = _validate_json(body)
    except ValidationError as error:
        errors = field_errors(error)
        return problem(422, f"The patient has {_count(len(errors), 'error')}.", errors)
    if with_contributions:
        prediction = model.predict_all([patient], with_contributions=True)[0]
    else:
        prediction = model.predict(patient)
    return PreparedResponse(200, JSON, _prediction_to_json(prediction))


def predict_batch(
    model: ServedModel | None, body: bytes, *, with_contributions: bool = False
) -> PreparedResponse:
    """Return a prediction or errors for each patient of a list."""
    if model is None:
        return no_model()
    try:
        rows = from_json(body)
    except ValueError as error:
        return _invalid_list(NOT_JSON, str(error))
    if not isinstance(rows, list):
        return _invalid_list("not_a_list", echo(rows))
    if not 1 <= len(rows) <= MAX_BATCH:
        return _invalid_list("not_allowed", _count(len(rows), "patient"))
    validated = [_validate(row) for row in rows]
    patients = [patient for patient in validated if isinstance(patient, BaseModel)]
    predictions = iter(model.predict_all(patients, with_contributions=with_contributions))
    response = BatchResponse(
        predicted=len(patients),
        refused=len(validated) - len(patients),
        results=[
            patient if isinstance(patient, dict) else next(predictions) for patient in validated
        ],
    )
    return PreparedResponse(200, JSON, _batch_to_json(response))


def _validate(row: object) -> BaseModel | RejectedPatient:
    try:
        patient: BaseModel = _validate_python(row)
    except ValidationError as error:
        return RejectedPatient(errors=field_errors(error))
    return patient


def _invalid_list(code: str, value: object) -> PreparedResponse:
    error = FieldError(
        field="body", code=code, given=value, allowed=f"a list of 1 to {MAX_BATCH} patients"
    )
    return problem(422, f"Send a JSON list of 1 to {MAX_BATCH} patients.", [error])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


class PredictFastPath:
    """ASGI application that serves a plain `POST /predict` without a framework's overhead.

    It passes every other request on to the API, whose route gives the same response.
    """

    def __init__(
        self, app: ASGIApp, watcher: ChampionWatcher, metrics: Metrics, *, max_body_bytes: int
    ) -> None:
        self._app = app
        self._watcher = watcher
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a prediction, or pass the request on."""
        if not (
            scope["type"] == "http"
            and scope["path"] == PREDICT
            and scope["method"] == "POST"
            and not scope["query_string"]
            and is_json(scope["headers"])
        ):
            await self._app(scope, receive, send)
            return
        try:
            body = await read_body(receive, self._max_body_bytes)
        except ClientDisconnect:
            return
        except BodyTooLargeError as error:
            prepared = body_too_large(error.limit)
            self._metrics.observe(PREDICT, prepared.status, 0)
        else:
            started = perf_counter()
            prepared = self._predict(body)
            self._metrics.observe(PREDICT, prepared.status, perf_counter() - started)
        await _send_response(prepared, send)

    def _predict(self, body: bytes) -> PreparedResponse:
        try:
            return predict(self._watcher.current, body)
        except Exception:
            logger.exception("a prediction failed")
            return server_failure()


async def _send_response(prepared: PreparedResponse, send: Send) -> None:
    headers = [
        (b"content-type", prepared.media_type.encode()),
        (b"content-length", str(len(prepared.body)).encode()),
        *_FAST_HEADERS,
    ]
    await send({"type": "http.response.start", "status": prepared.status, "headers": headers})
    await send({"type": "http.response.body", "body": prepared.body})
