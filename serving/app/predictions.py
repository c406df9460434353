"""`POST /predict` and `POST /predict/batch`: validation, prediction and response.

A plain `POST /predict` is served by `PredictFastPath`, everything else by the routes. Both call
`predict`, so their responses are the same to the byte.
"""

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import TypedDict

from diabetes_platform.contract.fields import FEATURES
from serving.app.bodies import JsonBody, content_type, read_body
from serving.app.champion import ChampionWatcher
from serving.app.metrics import Metrics
from serving.app.openapi import PATIENT_BODY, PATIENT_REF, json_body, problem_responses
from serving.app.problems import API_HEADERS, JSON, PROBLEM_JSON, ProblemError, server_failure
from serving.app.served_model import Measurements, Prediction, ServedModel
from serving.app.validation import (
    EXAMPLE_PATIENT,
    NOT_JSON,
    FieldError,
    Patient,
    field_error,
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
    {"type": "array", "items": PATIENT_REF, "minItems": 1, "maxItems": MAX_BATCH}, [EXAMPLE_PATIENT]
)

_FAST_HEADERS = [(name.encode(), value.encode()) for name, value in API_HEADERS.items()]


def model_in_use(watcher: ChampionWatcher) -> ServedModel:
    """Return the model in use; raise ProblemError without one."""
    if watcher.current is None:
        detail = "No model has been released yet. GET /ready shows when one is in use."
        raise ProblemError(503, detail)
    return watcher.current


# A coroutine: FastAPI runs a plain function in a thread, which costs two switches per request.
async def get_model(request: Request) -> ServedModel:
    """Return the model in use; raise ProblemError without one."""
    return model_in_use(request.app.state.watcher)


ModelDep = Annotated[ServedModel, Depends(get_model)]

_validate_json = Patient.__pydantic_validator__.validate_json
_validate_python = Patient.__pydantic_validator__.validate_python
_prediction_to_json = TypeAdapter(Prediction).serializer.to_json
_batch_to_json = TypeAdapter(BatchResponse).serializer.to_json


@router.post(
    PREDICT,
    response_model=Prediction,
    response_model_exclude_unset=True,
    responses=problem_responses(413, 415, 422, 503),
    openapi_extra=PATIENT_BODY,
    summary="Predict one patient",
)
async def predict_one(
    body: JsonBody, model: ModelDep, *, with_contributions: WithContributions = False
) -> Response:
    """Return the risk of one patient, or all errors of the request."""
    return await _respond(predict, model, body, with_contributions=with_contributions)


@router.post(
    "/predict/batch",
    response_model=BatchResponse,
    responses=problem_responses(413, 415, 422, 503),
    openapi_extra=_BATCH_BODY,
    summary=f"Predict up to {MAX_BATCH} patients",
)
async def predict_many(
    body: JsonBody, model: ModelDep, *, with_contributions: WithContributions = False
) -> Response:
    """Predict each patient of a list, in order: an invalid patient does not affect the others."""
    return await _respond(predict_batch, model, body, with_contributions=with_contributions)


async def _respond(
    handle: Callable[..., bytes], model: ServedModel, body: bytes, *, with_contributions: bool
) -> Response:
    # A large batch takes milliseconds: the event loop serves other requests meanwhile.
    content = await asyncio.to_thread(handle, model, body, with_contributions=with_contributions)
    return Response(content, 200, API_HEADERS, JSON)


def predict(model: ServedModel, body: bytes, *, with_contributions: bool = False) -> bytes:
    """Return the prediction for one patient as JSON; raise ProblemError with all errors."""
    try:
        patient = vars(_validate_json(body))
    except ValidationError as error:
        errors = field_errors(error, FEATURES)
        raise ProblemError(
            422, f"The patient has {_count(len(errors), 'error')}.", errors
        ) from None
    if with_contributions:
        return _prediction_to_json(model.predict_all([patient], with_contributions=True)[0])
    return _prediction_to_json(model.predict(patient))


def predict_batch(model: ServedModel, body: bytes, *, with_contributions: bool = False) -> bytes:
    """Return a prediction or errors for each patient of a list, as JSON.

    Raises ProblemError if the body is not such a list.
    """
    try:
        rows = from_json(body)
    except ValueError as error:
        raise _invalid_list(NOT_JSON, str(error)) from None
    if not isinstance(rows, list):
        raise _invalid_list("not_a_list", rows)
    if not 1 <= len(rows) <= MAX_BATCH:
        raise _invalid_list("not_allowed", _count(len(rows), "patient"))
    validated = [_validate(row) for row in rows]
    patients = [row for row in validated if not isinstance(row, list)]
    predictions = iter(model.predict_all(patients, with_contributions=with_contributions))
    response = BatchResponse(
        predicted=len(patients),
        refused=len(validated) - len(patients),
        results=[
            RejectedPatient(errors=row) if isinstance(row, list) else next(predictions)
            for row in validated
        ],
    )
    return _batch_to_json(response)


def _validate(row: object) -> Measurements | list[FieldError]:
    try:
        patient: Measurements = vars(_validate_python(row))
    except ValidationError as error:
        return field_errors(error, FEATURES)
    return patient


def _invalid_list(code: str, value: object) -> ProblemError:
    allowed = f"a list of 1 to {MAX_BATCH} patients"
    error = field_error("body", code, value, allowed)
    return ProblemError(422, f"Send a JSON list of 1 to {MAX_BATCH} patients.", [error])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


class PredictFastPath:
    """ASGI application that serves a plain `POST /predict` without a framework's overhead.

    It passes every other request on to the API, whose route gives the same response.
    """

    def __init__(
        self, app: ASGIApp, watcher: ChampionWatcher, metrics: Metrics, *, max_body_bytes: int
    ) -> None:
        self._app, self._watcher, self._metrics = app, watcher, metrics
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a prediction, or pass the request on."""
        if not (
            scope["type"] == "http"
            and scope["path"] == PREDICT
            and scope["method"] == "POST"
            and not scope["query_string"]
            and content_type(scope["headers"]) == JSON
        ):
            await self._app(scope, receive, send)
            return
        try:
            body = await read_body(receive, self._max_body_bytes)
        except ClientDisconnect:
            return
        except ProblemError as error:
            status, media_type, content = error.status, PROBLEM_JSON, error.body()
            # The time counts from the arrival of the complete request.
            self._metrics.observe(PREDICT, status, 0)
        else:
            started = perf_counter()
            status, media_type, content = self._predict(body)
            self._metrics.observe(PREDICT, status, perf_counter() - started)
        headers = [
            (b"content-type", media_type.encode()),
            (b"content-length", str(len(content)).encode()),
            *_FAST_HEADERS,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _predict(self, body: bytes) -> tuple[int, str, bytes]:
        """Return the status, the media type and the content of the response."""
        try:
            return 200, JSON, predict(model_in_use(self._watcher), body)
        except ProblemError as error:
            return error.status, PROBLEM_JSON, error.body()
        except Exception:
            logger.exception("a prediction failed")
            return 500, PROBLEM_JSON, server_failure().body()
