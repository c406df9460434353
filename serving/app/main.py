"""The API's wiring: routes, documentation and what runs beside them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from serving.app import patient_routes
from serving.app.champion import ChampionWatcher
from serving.app.fast_path import PredictFastPath
from serving.app.intake import install_intake_problems, make_intake, running
from serving.app.metrics import CountRequests, Metrics
from serving.app.openapi import DESCRIPTION, add_body_schemas
from serving.app.pages import install_pages
from serving.app.problems import install_problem_handlers
from serving.app.routes import router
from serving.app.served_model import ServedModel
from serving.app.settings import ServingSettings


class PredictionApi(FastAPI):
    """FastAPI whose description holds the bodies that it reads by itself."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made once."""
        if self.openapi_schema is None:
            add_body_schemas(super().openapi())
        return super().openapi()


def create_api(settings: ServingSettings, watcher: ChampionWatcher, metrics: Metrics) -> FastAPI:
    """Return the API with all its routes, each answered by FastAPI."""
    intake = make_intake(settings, watcher, metrics)

    # Nothing waits for the first look: a model on trial or a store that hangs delays no /health.
    @asynccontextmanager
    async def background(_api: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(watcher.run(), name="follow-champion")
        async with running(intake):
            yield
        following.cancel()

    api = PredictionApi(
        title="Diabetes platform",
        summary="Risk of diabetes within five years, from eight measurements.",
        description=DESCRIPTION,
        version="0.1.0",
        lifespan=background,
        docs_url=None,
        redoc_url=None,
    )
    api.state.settings = settings
    api.state.watcher = watcher
    api.state.metrics = metrics
    api.state.intake = intake
    install_problem_handlers(api)
    install_intake_problems(api)
    api.include_router(router)
    api.include_router(patient_routes.router)
    install_pages(api, settings)
    api.add_middleware(CountRequests, metrics=metrics)
    return api


def create_app(
    settings: ServingSettings | None = None, *, model: ServedModel | None = None
) -> ASGIApp:
    """Return the whole server application: the fast path in front of the API.

    `model` answers until the model store has a champion.
    """
    settings = settings or ServingSettings()
    metrics = Metrics(settings.prometheus_multiproc_dir)
    watcher = ChampionWatcher(
        settings.models,
        metrics,
        poll_seconds=settings.model_poll_seconds,
        s3=settings.s3,
        model=model,
    )
    api = create_api(settings, watcher, metrics)
    return PredictFastPath(api, watcher, metrics, max_body_bytes=settings.api_max_body_bytes)
