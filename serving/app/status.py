"""The routes about the server itself: model card, health, readiness and metrics."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from typing_extensions import TypedDict

from serving.app.champion import ChampionWatcher
from serving.app.metrics import EXPOSITION_TYPE
from serving.app.openapi import problem_responses
from serving.app.predictions import ModelDep
from serving.app.problems import ProblemError
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


@router.get("/model", responses=problem_responses(503), tags=["prediction"])
async def model(current: ModelDep) -> ModelCard:
    """Describe the model in use: version, metrics, threshold, measurements, training."""
    return current.card()


@router.get("/health", tags=["operation"])
async def health() -> Health:
    """Return 200 while the process is alive, with or without a model."""
    return Health(status="alive")


@router.get("/ready", responses=problem_responses(503), tags=["operation"])
async def ready(request: Request) -> Ready:
    """Return 200 once a model is in use; `problem` says why a newer one could not be used."""
    watcher: ChampionWatcher = request.app.state.watcher
    if watcher.current is None:
        raise ProblemError(503, f"No model in use: {watcher.problem}")
    version = watcher.current.bundle.model_version
    return Ready(status="ready", model_version=version, problem=watcher.problem)


@router.get("/metrics", response_class=PlainTextResponse, tags=["operation"])
async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    return Response(request.app.state.metrics.exposition(), media_type=EXPOSITION_TYPE)
