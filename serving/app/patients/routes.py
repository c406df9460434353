"""The routes under `/patients`: intake, reading, event streams and confirmed outcomes."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from diabetes_platform.contract.fields import FEATURES, OUTCOME
from serving.app.bodies import JsonBody
from serving.app.openapi import OUTCOME_BODY, PATIENT_BODY, problem_responses
from serving.app.patients import queries
from serving.app.patients.event_stream import parse_event_id, prediction_events, start_stream
from serving.app.patients.lifespan import PatientService, PatientServiceDep
from serving.app.patients.presenter import receipt, summary
from serving.app.patients.schemas import (
    LARGEST_ID,
    MAX_PAGE,
    RECEIPT_EXAMPLE,
    PatientDetail,
    PatientId,
    PatientPage,
    PatientReceipt,
    links_of,
)
from serving.app.problems import API_HEADERS, JSON, ProblemError
from serving.app.validation import (
    REQUIRED_OUTCOME,
    OutcomeBody,
    Patient,
    field_error,
    field_errors,
    outcome_of,
    validate_json,
)

router = APIRouter(prefix="/patients", tags=["patients"])

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[!-~]{1,255}$",
        description="Chosen by the sender for one patient, for example a UUID. With it, a request "
        "whose response was lost can be sent again.",
    ),
]

_RECEIPT: dict[str, Any] = {"content": {JSON: {"example": RECEIPT_EXAMPLE}}}
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
    responses={201: _RECEIPT, **problem_responses(413, 415, 422, 503)},
    openapi_extra=PATIENT_BODY,
    summary="Take in a patient",
)
async def take_in(
    service: PatientServiceDep,
    body: JsonBody,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> PatientReceipt:
    """Store the measurements and return a receipt; the prediction follows through the stream.

    Without an `Idempotency-Key`, two requests are two patients. A repeated request with the same
    key and measurements returns the first receipt; with other measurements it is an error.
    """
    try:
        measurements = validate_json(Patient, body)
    except ValidationError as error:
        detail = "The patient is not valid. Nothing was stored."
        raise ProblemError(422, detail, field_errors(error, FEATURES)) from None
    async with service.database.connection() as connection:
        row = await queries.insert_patient(connection, measurements, idempotency_key)
    response.headers.update({**API_HEADERS, "location": links_of(row["id"])["self"]})
    return receipt(row, "waiting")


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
    async with service.database.connection() as connection:
        rows = await queries.list_patients(connection, before=before, limit=limit + 1)
    response.headers.update(API_HEADERS)
    patients = [summary(row) for row in rows[:limit]]
    before = patients[-1]["id"] if len(rows) > limit else 0
    # Ids below 1, which older tables may hold, have no address.
    older = f"/patients?limit={limit}&before={before}" if before > 1 else None
    return PatientPage(patients=patients, next=older)


@router.get("/{patient_id}", responses=problem_responses(404, 422, 503), summary="Read a patient")
async def get_patient(
    service: PatientServiceDep, patient_id: PatientId, response: Response
) -> PatientDetail:
    """Return measurements, outcome and newest prediction, with the latency of each stage."""
    async with service.database.connection() as connection:
        row = await queries.get_patient(connection, patient_id)
    return await _patient(service, patient_id, row, response)


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
    cursor = parse_event_id(last_event_id) if last_event_id else queries.START
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
        raise _patient_not_found(patient_id)
    return StreamingResponse(stream, 200, _STREAM_HEADERS, "text/event-stream")


@router.put(
    "/{patient_id}/outcome",
    responses=problem_responses(404, 413, 415, 422, 503),
    openapi_extra=OUTCOME_BODY,
    summary="Record a confirmed outcome",
)
async def record_outcome(
    service: PatientServiceDep, patient_id: PatientId, body: JsonBody, response: Response
) -> PatientDetail:
    """Record or correct the outcome; repeating the same outcome changes nothing."""
    try:
        values = validate_json(OutcomeBody, body)
    except ValidationError as error:
        errors = field_errors(error, [REQUIRED_OUTCOME])
        raise ProblemError(422, "The outcome is not allowed.", errors) from None
    outcome = outcome_of(values[OUTCOME.name])
    async with service.database.connection() as connection:
        row = await queries.record_outcome(connection, patient_id, outcome)
    return await _patient(service, patient_id, row, response)


async def _patient(
    service: PatientService, patient_id: int, row: Mapping[str, Any] | None, response: Response
) -> PatientDetail:
    if row is None:
        raise _patient_not_found(patient_id)
    response.headers.update(API_HEADERS)
    return await service.presenter.patient(row)


def _patient_not_found(patient_id: int) -> ProblemError:
    error = field_error("patient_id", "not_found", patient_id, "the id of a patient")
    return ProblemError(404, f"Patient {patient_id} does not exist.", [error])
