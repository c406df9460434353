"""The page: a form, the answer for its patient, and how far the recent patients are.

Everything is rendered here and works without a script; the script swaps parts of the same pages.
"""

import asyncio
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from serving.app import patients
from serving.app.body import content_type
from serving.app.database import DatabaseUnavailableError
from serving.app.intake import Intake
from serving.app.models import Patient
from serving.app.outcomes import judge_outcome
from serving.app.pages.form import (
    EMPTY,
    FORM,
    FORM_ID,
    Entry,
    FormError,
    explain,
    form_fields,
    judge,
    read_form,
)
from serving.app.pages.same_origin import is_from_here
from serving.app.pages.view import answer_view, is_late
from serving.app.patient_models import LARGEST_ID, PatientSummary, links_of
from serving.app.presenting import summary
from serving.app.problems import Answer
from serving.app.reading import limited_body

HERE = Path(__file__).parent
RECENT = 12
"""How many patients the page lists."""

PAGE_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    # Not `no-referrer`: with it a browser calls the origin of this page's own form `null`.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
DOWN = "down"
KEEPS_NONE = "keeps-none"
NOT_KNOWN = "not-known"
NO_PATIENT = "no-patient"
NO_MODEL = "no-model"
FOREIGN = "foreign"
UNREADABLE = "unreadable"

router = APIRouter(include_in_schema=False)
PatientId = Annotated[int, InPath(ge=1, le=LARGEST_ID)]

_templates = Jinja2Templates(
    env=Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
)


@router.get("/")
async def index(request: Request) -> Response:
    """Show an empty form and the recent patients."""
    return await _page(request)


@router.post("/")
async def submit(request: Request) -> Response:
    """Take in a patient and go to its page; without a database answer it right here."""
    texts = await _form(request)
    if isinstance(texts, Response):
        return texts
    entry = judge(texts)
    if entry.errors:
        return await _page(request, 422, entry=entry)
    intake = _intake(request)
    if intake is None:
        return await _answer_here(request, entry)
    try:
        row = await patients.take_in(intake.database, entry.measurements, entry.key)
    except DatabaseUnavailableError:
        return await _page(request, 503, entry=entry, notice=NOT_KNOWN)
    return RedirectResponse(links_of(row["id"])["page"], 303, PAGE_HEADERS)


@router.get("/intake/{patient_id}")
async def show(request: Request, patient_id: PatientId) -> Response:
    """Show one patient: waiting or answered."""
    return await _with_patient(request, patient_id, 200)


@router.post("/intake/{patient_id}/outcome")
async def record(request: Request, patient_id: PatientId) -> Response:
    """Record a confirmed outcome, then show the patient."""
    texts = await _form(request)
    intake = _intake(request)
    if isinstance(texts, Response):
        return texts
    if intake is None:
        return await _page(request, 503, notice=KEEPS_NONE)
    outcome = judge_outcome(texts.get("outcome"))
    if not isinstance(outcome, int):
        error = explain(outcome[0])
        return await _with_patient(request, patient_id, 422, outcome_error=error)
    try:
        known = await patients.record_outcome(intake.database, patient_id, outcome)
    except DatabaseUnavailableError:
        return await _page(request, 503, notice=NOT_KNOWN)
    if not known:
        return await _page(request, 404, notice=NO_PATIENT)
    return RedirectResponse(links_of(patient_id)["page"], 303, PAGE_HEADERS)


async def _with_patient(
    request: Request, patient_id: int, status: int, *, outcome_error: str | None = None
) -> Response:
    intake = _intake(request)
    if intake is None:
        return await _page(request, 503, notice=KEEPS_NONE)
    try:
        row = await patients.read(intake.database, patient_id)
    except DatabaseUnavailableError:
        return await _page(request, 503, notice=DOWN)
    if row is None:
        return await _page(request, 404, notice=NO_PATIENT)
    patient = await intake.presenter.patient(row)
    found = patient["prediction"]
    answer = answer_view(found, patient["measurements"]) if found else None
    late = answer is None and is_late(patient["received_at"])
    return await _page(
        request,
        status,
        patient=patient,
        answer=answer,
        late=late,
        outcome_error=outcome_error,
    )


async def _answer_here(request: Request, entry: Entry) -> Response:
    model = request.app.state.watcher.current
    if model is None:
        return await _page(request, 503, entry=entry, notice=NO_MODEL)
    patient = Patient(**entry.measurements)
    (prediction,) = await asyncio.to_thread(model.predict_all, [patient], with_contributions=True)
    answer = answer_view(prediction, entry.measurements)
    return await _page(request, entry=entry, answer=answer)


async def _form(request: Request) -> dict[str, str] | Response:
    """Return the texts of the form, or why it is not taken."""
    if not is_from_here(request):
        return await _page(request, 403, notice=FOREIGN)
    body = await limited_body(request)
    if isinstance(body, Answer):
        return await _page(request, body.status, notice=UNREADABLE)
    if content_type(request.scope["headers"]) != FORM:
        return await _page(request, 415, notice=UNREADABLE)
    try:
        return read_form(body)
    except FormError:
        return await _page(request, 400, notice=UNREADABLE)


async def _page(
    request: Request,
    status: int = 200,
    *,
    entry: Entry = EMPTY,
    notice: str | None = None,
    **shown: object,
) -> HTMLResponse:
    # Whoever has just waited in vain for the database does not wait again for the list.
    recent = [] if notice in {DOWN, NOT_KNOWN} else await _recent(request)
    model = request.app.state.watcher.current
    context = {
        "patient": None,
        "answer": None,
        "late": False,
        "notice": DOWN if recent is None else notice,
        "outcome_error": None,
        "fields": form_fields(entry),
        "form_id": entry.texts.get(FORM_ID) or uuid4().hex,
        "errors": [(error["field"], explain(error)) for error in entry.errors],
        "recent": recent or [],
        "stored": _intake(request) is not None,
        "model_version": model.bundle.model_version if model else None,
        "dagster": request.app.state.settings.dagster,
        **shown,
    }
    return _templates.TemplateResponse(
        request, "page.html", context, status_code=status, headers=PAGE_HEADERS
    )


async def _recent(request: Request) -> list[PatientSummary] | None:
    """Return the recent patients, None where the database cannot be asked."""
    intake = _intake(request)
    if intake is None:
        return []
    try:
        rows = await patients.recent(intake.database, before=LARGEST_ID, limit=RECENT)
    except DatabaseUnavailableError:
        return None
    return [summary(row) for row in rows]


def _intake(request: Request) -> Intake | None:
    intake: Intake | None = request.app.state.intake
    return intake
