"""The routes under `/patients`: intake, reading, event streams and confirmed outcomes."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from pydantic_core import to_json

from diabetes_platform.contract.fields import OUTCOME
from serving.app.bodies import JsonBody
from serving.app.openapi import PATIENT_BODY, json_body, problem_responses
from serving.app.patients import queries
from serving.app.patients.events import parse_event_id, prediction_events, start_stream
from serving.app.patients.presenter import receipt, summary
from serving.app.patients.schemas import (
    LARGEST_ID,
    MAX_PAGE,
    RECEIPT_EXAMPLE,
    PatientDetail,
    PatientPage,
    PatientReceipt,
)
from serving.app.patients.service import PatientServiceDep
from serving.app.problems import API_HEADERS, JSON, PreparedResponse, problem
from serving.app.validation import FieldError, Patient, echo, field_errors, read_outcome

router = APIRouter(prefix="/patients", tags=["patients"])

PatientId = Annotated[
    int, Path(ge=1, le=LARGEST_ID, description="The id in the response of POST /patients.")
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[!-~]{1,255}$",
        description="Chosen by the sender for one patient, for example a UUID. With it, a request "
        "whose response was lost can be sent again.",
    ),
]

_RECEIPT: dict[str, Any] = {"content": {JSON: {"example": RECEIPT_EXAMPLE}}}
_OUTCOME_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        OUTCOME.name: {
            "type": "integer",
            "enum": list(OUTCOME.allowed or ()),
            "description": OUTCOME.description,
        }
    },
    "required": [OUTCOME.name],
    "additionalProperties": False,
}
_EVENT_STREAM: dict[str, Any] = {
    "description": (
        "`prediction` events with the id `<lsn>-<model version>`, comments as heartbeat, and "
        "`unavailable` if the database cannot be reached."
    ),
    "content": {
        "text/event-stream": {
            "schema": {"type": "string"},
            "example": (
                "event: prediction\n"
                'data: {"patient_id":1,"event_id":"26514320-f82e3e51a6ce","result":"Diabetes",…}\n'
                "id: 26514320-f82e3e51a6ce\n\n"
            ),
        }
    },
}
_STREAM_HEADERS = {**API_HEADERS, "x-accel-buffering": "no"}


@router.post(
    "",
    status_code=201,
    response_model=PatientReceipt,
    responses={201: _RECEIPT, **problem_responses(413, 415, 422, 503)},
    openapi_extra=PATIENT_BODY,
    summary="Take in a patient",
)
async def take_in(
    service: PatientServiceDep, body: JsonBody, idempotency_key: IdempotencyKey = None
) -> Response:
    """Store the measurements and return a receipt; the prediction follows through the stream.

    Without an `Idempotency-Key`, two requests are two patients. A repeated request with the same
    key and measurements returns the first receipt; with other measurements it is an error.
    """
    if isinstance(body, PreparedResponse):
        return body.response()
    try:
        patient = Patient.__pydantic_validator__.validate_json(body)
    except ValidationError as error:
        errors = field_errors(error)
        return problem(422, "The patient is not valid. Nothing was stored.", errors).response()
    try:
        row = await queries.insert_patient(service.database, vars(patient), idempotency_key)
    except queries.IdempotencyKeyError:
        return _key_already_used(idempotency_key).response()
    patient_receipt = receipt(row)
    prepared = PreparedResponse(201, JSON, to_json(patient_receipt))
    return prepared.response({"location": patient_receipt["links"]["self"]})


@router.get("", responses=problem_responses(422, 503), summary="List recent patients")
async def list_recent(
    service: PatientServiceDep,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
    before: Annotated[
        int, Query(ge=1, le=LARGEST_ID, description="Only patients with smaller ids.")
    ] = LARGEST_ID,
) -> PatientPage:
    """List recent patients and their states, newest first, without measurements or results."""
    rows = await queries.list_patients(service.database, before=before, limit=limit + 1)
    response.headers.update(API_HEADERS)
    next_page = (
        f"/patients?limit={limit}&before={rows[limit - 1]['id']}" if len(rows) > limit else None
    )
    return PatientPage(patients=[summary(row) for row in rows[:limit]], next=next_page)


@router.get(
    "/{patient_id}",
    response_model=PatientDetail,
    responses=problem_responses(404, 422, 503),
    summary="Read a patient",
)
async def get_patient(
    service: PatientServiceDep, patient_id: PatientId, response: Response
) -> PatientDetail | Response:
    """Return measurements, outcome and newest prediction, with the latency of each stage."""
    row = await queries.get_patient(service.database, patient_id)
    if row is None:
        return _patient_not_found(patient_id).response()
    response.headers.update(API_HEADERS)
    return await service.presenter.patient(row)


@router.get(
    "/{patient_id}/events",
    response_class=StreamingResponse,
    responses={200: _EVENT_STREAM, **problem_responses(404, 422, 503)},
    summary="Follow a patient's predictions",
)
async def follow(
    request: Request,
    service: PatientServiceDep,
    patient_id: PatientId,
    last_event_id: Annotated[
        str | None, Header(description="Continue after this event; the default is the first.")
    ] = None,
) -> Response:
    """Send each prediction of this patient as a server-sent event."""
    try:
        cursor = parse_event_id(last_event_id) if last_event_id else queries.START
    except ValueError:
        return _invalid_event_id(last_event_id).response()
    service.notifications.require_capacity()
    events = prediction_events(
        service.database,
        service.notifications,
        service.presenter,
        patient_id,
        cursor,
        heartbeat_seconds=request.app.state.settings.api_heartbeat_seconds,
    )
    stream = await start_stream(events)
    if stream is None:
        return _patient_not_found(patient_id).response()
    return StreamingResponse(stream, 200, _STREAM_HEADERS, "text/event-stream")


@router.put(
    "/{patient_id}/outcome",
    response_model=PatientDetail,
    responses=problem_responses(404, 413, 415, 422, 503),
    openapi_extra=json_body(_OUTCOME_SCHEMA, {OUTCOME.name: OUTCOME.example}),
    summary="Record a confirmed outcome",
)
async def record_outcome(
    service: PatientServiceDep, patient_id: PatientId, body: JsonBody, response: Response
) -> PatientDetail | Response:
    """Record or correct the outcome; repeating the same outcome changes nothing."""
    if isinstance(body, PreparedResponse):
        return body.response()
    outcome = read_outcome(body)
    if not isinstance(outcome, int):
        return problem(422, "The outcome is not allowed.", outcome).response()
    if not await queries.record_outcome(service.database, patient_id, outcome):
        return _patient_not_found(patient_id).response()
    return await get_patient(service, patient_id, response)


def _patient_not_found(patient_id: int) -> PreparedResponse:
    error = FieldError(
        field="patient_id", code="not_found", given=patient_id, allowed="the id of a patient"
    )
    return problem(404, f"Patient {patient_id} does not exist.", [error])


def _key_already_used(key: str | None) -> PreparedResponse:
    error = FieldError(
        field="idempotency-key",
        code="already_used",
        given=echo(key),
        allowed="a new key for each patient",
    )
    return problem(422, "This key was already used with other measurements.", [error])


def _invalid_event_id(event_id: str | None) -> PreparedResponse:
    error = FieldError(
        field="last-event-id",
        code="not_allowed",
        given=echo(event_id),
        allowed="the id of an event of this stream: <lsn>-<model version>",
    )
    return problem(422, "A header is not allowed.", [error])
