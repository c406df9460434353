"""The application factory: settings, routes, background tasks and the fast path."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from fastapi import FastAPI
from starlette.types import ASGIApp

from serving.app import predictions, status
from serving.app.champion import ChampionWatcher
from serving.app.metrics import CountRequests, Metrics
from serving.app.openapi import DESCRIPTION, DocumentedApi
from serving.app.pages import install_pages
from serving.app.patients import routes as patients
from serving.app.patients.lifespan import create_patient_service
from serving.app.predictions import PredictFastPath
from serving.app.problems import install_problem_handlers
from serving.app.served_model import ServedModel
from serving.app.settings import ServingSettings


def create_api(settings: ServingSettings, watcher: ChampionWatcher, metrics: Metrics) -> FastAPI:
    """Return the API with all its routes, without the fast path."""
    service = create_patient_service(settings, watcher, metrics)

    # The start does not wait for the first poll: a slow model or store must not delay /health.
    @asynccontextmanager
    async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(watcher.run(), name="follow-champion")
        async with service.running() if service else nullcontext():
            yield
        watching.cancel()

    api = DocumentedApi(
        title="Diabetes platform",
        summary="Risk of diabetes within five years, from the measurements of one examination.",
        description=DESCRIPTION,
        version="0.1.0",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    api.state.settings = settings
    api.state.watcher = watcher
    api.state.metrics = metrics
    api.state.patient_service = service
    install_problem_handlers(api)
    for router in (predictions.router, status.router, patients.router):
        api.include_router(router)
    install_pages(api, settings)
    api.add_middleware(CountRequests, metrics=metrics)
    return api


def create_app(
    settings: ServingSettings | None = None, *, model: ServedModel | None = None
) -> ASGIApp:
    """Return the server application: the fast path in front of the API.

    `model` is in use until the model store has a champion.
    """
    settings = settings or ServingSettings()
    metrics = Metrics(settings.prometheus_multiproc_dir)
    poll_seconds = settings.model_poll_seconds
    watcher = ChampionWatcher(
        settings.models, metrics, poll_seconds=poll_seconds, s3=settings.s3, model=model
    )
    api = create_api(settings, watcher, metrics)
    return PredictFastPath(api, watcher, metrics, max_body_bytes=settings.api_max_body_bytes)
