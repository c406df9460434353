"""The intake page: the form, the prediction for its patient, and the recent patients.

The server renders everything, and the page works without a script. The script swaps parts of the
same pages.
"""

import asyncio
from pathlib import Path
from typing import Literal
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.validation import parse
from serving.app.bodies import content_type, read_limited_body
from serving.app.database import Connection, DatabaseError
from serving.app.pages.form import (
    EMPTY_FORM,
    FORM,
    FORM_ID,
    FormData,
    error_message,
    read_form,
    unit_of,
    validate_form,
)
from serving.app.pages.view import is_late, prediction_view
from serving.app.patients import queries
from serving.app.patients.lifespan import PatientService
from serving.app.patients.presenter import summary
from serving.app.patients.schemas import LARGEST_ID, PatientId, PatientSummary, links_of
from serving.app.problems import ProblemError
from serving.app.validation import REQUIRED_OUTCOME, outcome_of

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
Notice = Literal[
    "database-down",
    "no-database",
    "may-be-stored",
    "no-patient",
    "no-model",
    "other-site",
    "unreadable",
]
"""The name of a notice in `notices.html`."""

router = APIRouter(include_in_schema=False)

_templates = Jinja2Templates(
    env=Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
)
_templates.env.filters["unit"] = unit_of


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
        async with service.database.connection() as connection:
            row = await queries.insert_patient(connection, form.measurements, form.idempotency_key)
    except DatabaseError:
        return await _page(request, 503, form=form, notice="may-be-stored", recent=[])
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
        return await _page(request, 503, notice="no-database")
    text = texts.get("outcome")
    error = error_message(REQUIRED_OUTCOME, text)
    if error is not None:
        return await _patient_page(request, patient_id, 422, outcome_error=error)
    outcome = outcome_of(parse(REQUIRED_OUTCOME, text).value)
    try:
        async with service.database.connection() as connection:
            row = await queries.record_outcome(connection, patient_id, outcome)
            recent = [] if row else await _recent_patients(connection)
    except DatabaseError:
        return await _page(request, 503, notice="may-be-stored", recent=[])
    if row is None:
        return await _page(request, 404, notice="no-patient", recent=recent)
    return RedirectResponse(links_of(patient_id)["page"], 303, PAGE_HEADERS)


async def _patient_page(
    request: Request, patient_id: int, status: int, *, outcome_error: str | None = None
) -> Response:
    service = _patient_service(request)
    if service is None:
        return await _page(request, 503, notice="no-database")
    try:
        async with service.database.connection() as connection:
            row = await queries.get_patient(connection, patient_id)
            recent = await _recent_patients(connection)
    except DatabaseError:
        return await _page(request, 503, notice="database-down", recent=[])
    if row is None:
        return await _page(request, 404, notice="no-patient", recent=recent)
    patient = await service.presenter.patient(row)
    stored = patient["prediction"]
    return await _page(
        request,
        status,
        recent=recent,
        patient=patient,
        prediction=prediction_view(stored, patient["measurements"]) if stored else None,
        late=stored is None and is_late(patient["received_at"]),
        outcome_error=outcome_error,
    )


async def _predict_without_storing(request: Request, form: FormData) -> Response:
    model = request.app.state.watcher.current
    if model is None:
        return await _page(request, 503, form=form, notice="no-model")
    patient = form.measurements
    (prediction,) = await asyncio.to_thread(model.predict_all, [patient], with_contributions=True)
    return await _page(request, form=form, prediction=prediction_view(prediction, patient))


async def _read_form(request: Request) -> dict[str, str] | Response:
    """Return the texts of the form, or the page that says why it is not accepted."""
    if not _is_same_origin(request):
        return await _page(request, 403, notice="other-site")
    if content_type(request.scope["headers"]) != FORM:
        return await _page(request, 415, notice="unreadable")
    try:
        return read_form(await read_limited_body(request))
    except ProblemError as error:
        return await _page(request, error.status, notice="unreadable")
    except ValueError:
        return await _page(request, 400, notice="unreadable")


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
    notice: Notice | None = None,
    recent: list[PatientSummary] | None = None,
    **context: object,
) -> HTMLResponse:
    """Return the page; a caller that has used the database passes `recent`, so as to wait once."""
    service = _patient_service(request)
    if recent is None and service is not None:
        try:
            async with service.database.connection() as connection:
                recent = await _recent_patients(connection)
        except DatabaseError:
            notice = "database-down"
    model = request.app.state.watcher.current
    defaults = {
        "patient": None,
        "prediction": None,
        "late": False,
        "notice": notice,
        "outcome_error": None,
        "form": form,
        "fields": FEATURES,
        "form_id": form.texts.get(FORM_ID) or uuid4().hex,
        "recent": recent or [],
        "has_database": service is not None,
        "model_version": model.bundle.model_version if model else None,
        "dagster": request.app.state.settings.dagster,
    }
    return _templates.TemplateResponse(
        request, "page.html", defaults | context, status_code=status, headers=PAGE_HEADERS
    )


async def _recent_patients(connection: Connection) -> list[PatientSummary]:
    rows = await queries.list_patients(connection, before=LARGEST_ID, limit=RECENT_PATIENTS)
    return [summary(row) for row in rows]


def _patient_service(request: Request) -> PatientService | None:
    service: PatientService | None = request.app.state.patient_service
    return service
