"""The routes of patients: taken in, answered by the stream, their outcome confirmed."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from pydantic_core import to_json

from serving.app import patients
from serving.app.events import begun, cursor_of, events
from serving.app.intake import Intake, intake_of
from serving.app.models import FieldError, Patient
from serving.app.openapi import EVENT_STREAM, OUTCOME_BODY, PATIENT_BODY, refusals
from serving.app.outcomes import read_outcome
from serving.app.patient_models import (
    LARGEST_ID,
    MAX_PAGE,
    RECEIVED_EXAMPLE,
    PatientAnswer,
    PatientPage,
    Received,
)
from serving.app.presenting import received, summary
from serving.app.problems import API_HEADERS, JSON, Answer, problem
from serving.app.reading import JsonBody
from serving.app.verdicts import echo, field_errors

router = APIRouter(prefix="/patients", tags=["patients"])

Way = Annotated[Intake, Depends(intake_of)]
PatientId = Annotated[int, Path(ge=1, le=LARGEST_ID, description="As POST /patients gave it.")]

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[!-~]{1,255}$",
        description="Chosen by the sender for one patient, a UUID for instance: with it a request "
        "whose answer was lost can be sent again.",
    ),
]

_RECEIPT: dict[str, Any] = {"content": {JSON: {"example": RECEIVED_EXAMPLE}}}
_STREAM_HEADERS = {**API_HEADERS, "x-accel-buffering": "no"}


def no_patient(patient_id: int) -> Answer:
    """Return the refusal of an id that nobody has."""
    error = FieldError(
        field="patient_id", code="not_found", given=patient_id, allowed="the id of a patient"
    )
    return problem(404, f"There is no patient {patient_id}.", [error])


@router.post(
    "",
    status_code=201,
    response_model=Received,
    responses={201: _RECEIPT, **refusals(413, 415, 422, 503)},
    openapi_extra=PATIENT_BODY,
    summary="Take in a patient",
)
async def take_in(intake: Way, body: JsonBody, idempotency_key: IdempotencyKey = None) -> Response:
    """Keep the measurements and answer at once with a receipt; the stream predicts.

    Sent twice it is two patients, but for the same `Idempotency-Key`: then it is one, and the
    second answer is the first one's receipt. The same key with other measurements is refused.
    """
    if isinstance(body, Answer):
        return body.response()
    try:
        patient = Patient.__pydantic_validator__.validate_json(body)
    except ValidationError as error:
        errors = field_errors(error)
        return problem(422, "The patient has faults; nothing was stored.", errors).response()
    try:
        row = await patients.take_in(intake.database, vars(patient), idempotency_key)
    except patients.KeyUsedError:
        return _key_used(idempotency_key).response()
    receipt = received(row)
    answer = Answer(201, JSON, to_json(receipt))
    return answer.response({"location": receipt["links"]["self"]})


@router.get("", responses=refusals(422, 503))
async def recent(
    intake: Way,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
    before: Annotated[int, Query(ge=1, le=LARGEST_ID, description="Ids below it.")] = LARGEST_ID,
) -> PatientPage:
    """List recent patients and how far they are, the newest first; no measurement, no result."""
    rows = await patients.recent(intake.database, before=before, limit=limit + 1)
    response.headers.update(API_HEADERS)
    more = len(rows) > limit
    return PatientPage(
        patients=[summary(row) for row in rows[:limit]],
        next=f"/patients?limit={limit}&before={rows[limit - 1]['id']}" if more else None,
    )


@router.get("/{patient_id}", response_model=PatientAnswer, responses=refusals(404, 422, 503))
async def one(intake: Way, patient_id: PatientId, response: Response) -> PatientAnswer | Response:
    """Return a patient's measurements, outcome and newest prediction with the time of each hop."""
    row = await patients.read(intake.database, patient_id)
    if row is None:
        return no_patient(patient_id).response()
    response.headers.update(API_HEADERS)
    return await intake.presenter.patient(row)


@router.get(
    "/{patient_id}/events",
    response_class=StreamingResponse,
    responses={200: EVENT_STREAM, **refusals(404, 422, 503)},
    summary="Follow a patient's predictions",
)
async def follow(
    request: Request,
    intake: Way,
    patient_id: PatientId,
    last_event_id: Annotated[
        str | None, Header(description="Goes on after this event; without it from the first.")
    ] = None,
) -> Response:
    """Send each prediction of this patient, and of nobody else, as a server-sent event."""
    try:
        last = cursor_of(last_event_id) if last_event_id else patients.START
    except ValueError:
        return _bad_event_id(last_event_id).response()
    intake.feed.require_room()
    following = events(
        intake.database,
        intake.feed,
        intake.presenter,
        patient_id,
        last,
        heartbeat_seconds=request.app.state.settings.api_heartbeat_seconds,
    )
    stream = await begun(following)
    if stream is None:
        return no_patient(patient_id).response()
    return StreamingResponse(stream, 200, _STREAM_HEADERS, "text/event-stream")


@router.put(
    "/{patient_id}/outcome",
    response_model=PatientAnswer,
    responses=refusals(404, 413, 415, 422, 503),
    openapi_extra=OUTCOME_BODY,
    summary="Record a confirmed outcome",
)
async def record_outcome(
    intake: Way, patient_id: PatientId, body: JsonBody, response: Response
) -> PatientAnswer | Response:
    """Record the outcome or correct it; the same again changes nothing."""
    if isinstance(body, Answer):
        return body.response()
    outcome = read_outcome(body)
    if not isinstance(outcome, int):
        return problem(422, "The outcome is not allowed.", outcome).response()
    if not await patients.record_outcome(intake.database, patient_id, outcome):
        return no_patient(patient_id).response()
    return await one(intake, patient_id, response)


def _key_used(given: str | None) -> Answer:
    error = FieldError(
        field="idempotency-key",
        code="already_used",
        given=echo(given),
        allowed="a key of its own for each patient",
    )
    return problem(422, "This key was sent before with other measurements.", [error])


def _bad_event_id(given: str | None) -> Answer:
    error = FieldError(
        field="last-event-id",
        code="not_allowed",
        given=echo(given),
        allowed="the id of an event of this stream: <lsn>-<model version>",
    )
    return problem(422, "A header is not allowed.", [error])
