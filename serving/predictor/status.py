"""The predictor's state and its HTTP routes: health, readiness and metrics."""

from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Lifespan

from serving.app.champion import ChampionWatcher
from serving.app.metrics import EXPOSITION_TYPE
from serving.predictor.metrics import PredictorMetrics


@dataclass(slots=True)
class PredictorState:
    """The worker's state; the worker's thread writes it, the HTTP routes read it.

    `joined` is True once the consumer is a member of the group, `unassigned` while it has no
    partition although the topic has some or the broker does not respond, `database_checked` once
    the database has responded. `problem` says why the worker is waiting; None if it is not.
    """

    joined: bool = False
    partitions: int = 0
    unassigned: bool = False
    database_checked: bool = False
    problem: str | None = None


def create_status_app(
    state: PredictorState,
    watcher: ChampionWatcher,
    metrics: PredictorMetrics,
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """Return the application with `/health`, `/ready` and `/metrics`."""

    def health(_request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    def ready(_request: Request) -> Response:
        model, reason = watcher.current, state.problem
        if not state.joined:
            reason = "not yet a member of the consumer group: is Kafka running?"
        elif state.unassigned:
            reason = (
                "no partition is assigned: the group is rebalancing, Kafka does not respond, or "
                "other predictors have all"
            )
        elif model is None:
            reason = f"no model: {watcher.problem}"
        elif reason is None and not state.database_checked:
            reason = "the database has not responded yet"
        if reason is not None or model is None:
            problem = {"status": "not ready", "detail": reason, "partitions": state.partitions}
            return JSONResponse(problem, 503)
        content = {
            "status": "ready",
            "model_version": model.bundle.model_version,
            "partitions": state.partitions,
            "problem": watcher.problem,
        }
        return JSONResponse(content)

    def exposition(_request: Request) -> Response:
        return Response(metrics.exposition(), media_type=EXPOSITION_TYPE)

    routes = [Route("/health", health), Route("/ready", ready), Route("/metrics", exposition)]
    return Starlette(routes=routes, lifespan=lifespan)
