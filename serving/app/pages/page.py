"""The intake page: the form, the prediction for its patient, and the recent patients.

The server renders everything, and the page works without a script. The script swaps parts of the
same pages.
"""

import asyncio
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from serving.app.bodies import content_type, read_limited_body
from serving.app.database import DatabaseUnavailableError
from serving.app.pages.form import (
    EMPTY_FORM,
    FORM,
    FORM_ID,
    FormData,
    FormError,
    error_message,
    form_inputs,
    read_form,
    validate_form,
)
from serving.app.pages.view import is_late, prediction_view
from serving.app.patients import queries
from serving.app.patients.presenter import summary
from serving.app.patients.schemas import LARGEST_ID, PatientSummary, links_of
from serving.app.patients.service import PatientService
from serving.app.problems import PreparedResponse
from serving.app.validation import Patient, parse_outcome

HERE = Path(__file__).parent
RECENT_PATIENTS = 12
"""The number of patients in the page's list."""

PAGE_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    # Not `no-referrer`, with which browsers send `null` as the origin of this page's own form.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
# Names of notices in `notices.html`.
DATABASE_DOWN = "database-down"
NO_DATABASE = "no-database"
MAY_BE_STORED = "may-be-stored"
NO_PATIENT = "no-patient"
NO_MODEL = "no-model"
OTHER_SITE = "other-site"
UNREADABLE = "unreadable"

router = APIRouter(include_in_schema=False)
PatientId = Annotated[int, PathParameter(ge=1, le=LARGEST_ID)]

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
    """Store a patient and redirect to its page; without a database show the prediction."""
    texts = await _read_form(request)
    if isinstance(texts, Response):
        return texts
    form = validate_form(texts)
    if form.errors:
        return await _page(request, 422, form=form)
    service = _patient_service(request)
    if service is None:
        return await _predict_without_storing(request, form)
    try:
        row = await queries.insert_patient(
            service.database, form.measurements, form.idempotency_key
        )
    except DatabaseUnavailableError:
        return await _page(request, 503, form=form, notice=MAY_BE_STORED)
    return RedirectResponse(links_of(row["id"])["page"], 303, PAGE_HEADERS)


@router.get("/intake/{patient_id}")
async def show_patient(request: Request, patient_id: PatientId) -> Response:
    """Show one patient, with its prediction if it has one."""
    return await _patient_page(request, patient_id, 200)


@router.post("/intake/{patient_id}/outcome")
async def record_outcome(request: Request, patient_id: PatientId) -> Response:
    """Record a confirmed outcome, then redirect to the patient's page."""
    texts = await _read_form(request)
    service = _patient_service(request)
    if isinstance(texts, Response):
        return texts
    if service is None:
        return await _page(request, 503, notice=NO_DATABASE)
    outcome = parse_outcome(texts.get("outcome"))
    if not isinstance(outcome, int):
        error = error_message(outcome[0])
        return await _patient_page(request, patient_id, 422, outcome_error=error)
    try:
        exists = await queries.record_outcome(service.database, patient_id, outcome)
    except DatabaseUnavailableError:
        return await _page(request, 503, notice=MAY_BE_STORED)
    if not exists:
        return await _page(request, 404, notice=NO_PATIENT)
    return RedirectResponse(links_of(patient_id)["page"], 303, PAGE_HEADERS)


async def _patient_page(
    request: Request, patient_id: int, status: int, *, outcome_error: str | None = None
) -> Response:
    service = _patient_service(request)
    if service is None:
        return await _page(request, 503, notice=NO_DATABASE)
    try:
        row = await queries.get_patient(service.database, patient_id)
    except DatabaseUnavailableError:
        return await _page(request, 503, notice=DATABASE_DOWN)
    if row is None:
        return await _page(request, 404, notice=NO_PATIENT)
    patient = await service.presenter.patient(row)
    stored = patient["prediction"]
    return await _page(
        request,
        status,
        patient=patient,
        prediction=prediction_view(stored, patient["measurements"]) if stored else None,
        late=stored is None and is_late(patient["received_at"]),
        outcome_error=outcome_error,
    )


async def _predict_without_storing(request: Request, form: FormData) -> Response:
    model = request.app.state.watcher.current
    if model is None:
        return await _page(request, 503, form=form, notice=NO_MODEL)
    patient = Patient(**form.measurements)
    (prediction,) = await asyncio.to_thread(model.predict_all, [patient], with_contributions=True)
    view = prediction_view(prediction, form.measurements)
    return await _page(request, form=form, prediction=view)


async def _read_form(request: Request) -> dict[str, str] | Response:
    """Return the texts of the form, or the page that says why it is not accepted."""
    if not _is_same_origin(request):
        return await _page(request, 403, notice=OTHER_SITE)
    body = await read_limited_body(request)
    if isinstance(body, PreparedResponse):
        return await _page(request, body.status, notice=UNREADABLE)
    if content_type(request.scope["headers"]) != FORM:
        return await _page(request, 415, notice=UNREADABLE)
    try:
        return read_form(body)
    except FormError:
        return await _page(request, 400, notice=UNREADABLE)


def _is_same_origin(request: Request) -> bool:
    """Return whether the form comes from a page of this server, or from a non-browser client.

    A form on another site would act on the visitor's behalf (CSRF).
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("origin")
    # Browsers without Sec-Fetch-Site send the origin with each form; other programs send neither.
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


async def _page(
    request: Request,
    status: int = 200,
    *,
    form: FormData = EMPTY_FORM,
    notice: str | None = None,
    **context: object,
) -> HTMLResponse:
    # This request has just waited for the database: the list would make it wait again.
    recent = [] if notice in {DATABASE_DOWN, MAY_BE_STORED} else await _recent_patients(request)
    model = request.app.state.watcher.current
    defaults = {
        "patient": None,
        "prediction": None,
        "late": False,
        "notice": DATABASE_DOWN if recent is None else notice,
        "outcome_error": None,
        "inputs": form_inputs(form),
        "form_id": form.texts.get(FORM_ID) or uuid4().hex,
        "errors": [(error["field"], error_message(error)) for error in form.errors],
        "recent": recent or [],
        "has_database": _patient_service(request) is not None,
        "model_version": model.bundle.model_version if model else None,
        "dagster": request.app.state.settings.dagster,
    }
    return _templates.TemplateResponse(
        request, "page.html", defaults | context, status_code=status, headers=PAGE_HEADERS
    )


async def _recent_patients(request: Request) -> list[PatientSummary] | None:
    """Return the recent patients, None if the database cannot be reached."""
    service = _patient_service(request)
    if service is None:
        return []
    try:
        rows = await queries.list_patients(
            service.database, before=LARGEST_ID, limit=RECENT_PATIENTS
        )
    except DatabaseUnavailableError:
        return None
    return [summary(row) for row in rows]


def _patient_service(request: Request) -> PatientService | None:
    service: PatientService | None = request.app.state.patient_service
    return service
