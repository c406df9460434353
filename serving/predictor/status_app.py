"""What the predictor tells over HTTP: alive, ready, metrics. Nothing of a patient."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Lifespan

from serving.app.champion import ChampionWatcher
from serving.predictor.metrics import PredictorMetrics
from serving.predictor.state import State


def not_ready(state: State, watcher: ChampionWatcher) -> str | None:
    """Return why the predictor cannot do its work; None where it can."""
    if not state.joined:
        return "not yet a member of the group: is Kafka there?"
    if watcher.current is None:
        return f"no model: {watcher.problem}"
    if state.problem is not None:
        return state.problem
    return None if state.checked else "the database has not answered yet"


def status_app(
    state: State,
    watcher: ChampionWatcher,
    metrics: PredictorMetrics,
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """Return the application with `/health`, `/ready` and `/metrics`."""

    def health(_request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    def ready(_request: Request) -> Response:
        why, model = not_ready(state, watcher), watcher.current
        if why is not None or model is None:
            return JSONResponse({"status": "not ready", "detail": why}, 503)
        answer = {
            "status": "ready",
            "model_version": model.bundle.model_version,
            "partitions": state.partitions,
            "problem": watcher.problem,
        }
        return JSONResponse(answer)

    def exposition(_request: Request) -> Response:
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    routes = [Route("/health", health), Route("/ready", ready), Route("/metrics", exposition)]
    return Starlette(routes=routes, lifespan=lifespan)
