"""The routes about the server itself: model card, health, readiness and metrics."""

from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from typing_extensions import TypedDict

from serving.app.dependencies import MetricsDep, WatcherDep
from serving.app.openapi import problem_responses
from serving.app.problems import no_model, problem
from serving.app.served_model import ModelCard

router = APIRouter()


class Health(TypedDict):
    """The process is alive."""

    status: Literal["alive"]


class Ready(TypedDict):
    """A model is in use; `problem` says why a newer one is not, null if it is."""

    status: Literal["ready"]
    model_version: str
    problem: str | None


@router.get(
    "/model", response_model=ModelCard, responses=problem_responses(503), tags=["prediction"]
)
async def model(watcher: WatcherDep) -> ModelCard | Response:
    """Describe the model in use: version, metrics, threshold, measurements, training."""
    return no_model().response() if watcher.current is None else watcher.current.card()


@router.get("/health", tags=["operation"])
async def health() -> Health:
    """Return 200 while the process is alive, with or without a model."""
    return Health(status="alive")


@router.get("/ready", response_model=Ready, responses=problem_responses(503), tags=["operation"])
async def ready(watcher: WatcherDep) -> Ready | Response:
    """Return 200 once a model is in use; `problem` says why a newer one could not be used."""
    if watcher.current is None:
        return problem(503, f"No model in use: {watcher.problem}").response()
    return Ready(
        status="ready",
        model_version=watcher.current.bundle.model_version,
        problem=watcher.problem,
    )


@router.get("/metrics", response_class=PlainTextResponse, tags=["operation"])
async def metrics(worker_metrics: MetricsDep) -> Response:
    """Return the metrics in Prometheus' text format."""
    return Response(
        worker_metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8"
    )
