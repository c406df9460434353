"""The API's routes, flat: each reads its request and calls one function."""

import asyncio
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import PlainTextResponse

from serving.app.champion import ChampionWatcher
from serving.app.metrics import Metrics
from serving.app.models import MAX_BATCH, BatchAnswer, Health, ModelCard, Prediction, Ready
from serving.app.openapi import BATCH_BODY, PATIENT_BODY, refusals
from serving.app.predicting import no_model, predict, predict_batch
from serving.app.problems import Answer, problem
from serving.app.reading import JsonBody

PREDICTION, OPERATION = "prediction", "operation"

router = APIRouter()


async def _watcher(request: Request) -> ChampionWatcher:
    watcher: ChampionWatcher = request.app.state.watcher
    return watcher


async def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


Watcher = Annotated[ChampionWatcher, Depends(_watcher)]
WithContributions = Annotated[
    bool,
    Query(
        alias="contributions",
        description=(
            "Also answer what moved the prediction: SHAP values in log-odds, which add up to the "
            "log-odds of the probability. Some twenty times the cost of the prediction itself."
        ),
    ),
]


@router.post(
    "/predict",
    response_model=Prediction,
    response_model_exclude_unset=True,
    responses=refusals(413, 415, 422, 503),
    openapi_extra=PATIENT_BODY,
    summary="Predict one patient",
    tags=[PREDICTION],
)
async def predict_one(
    watcher: Watcher, body: JsonBody, *, with_contributions: WithContributions = False
) -> Response:
    """Return the risk of one patient, or all the reasons why it cannot be judged."""
    return await _answer(predict, watcher, body, with_contributions=with_contributions)


@router.post(
    "/predict/batch",
    response_model=BatchAnswer,
    responses=refusals(413, 415, 422, 503),
    openapi_extra=BATCH_BODY,
    summary=f"Predict up to {MAX_BATCH} patients",
    tags=[PREDICTION],
)
async def predict_many(
    watcher: Watcher, body: JsonBody, *, with_contributions: WithContributions = False
) -> Response:
    """Judge each patient by itself, in order: one that cannot be judged stops no other."""
    return await _answer(predict_batch, watcher, body, with_contributions=with_contributions)


@router.get("/model", response_model=ModelCard, responses=refusals(503), tags=[PREDICTION])
async def model(watcher: Watcher) -> ModelCard | Response:
    """Describe the model in use: version, metrics, threshold, measurements, training."""
    current = watcher.current
    return no_model().response() if current is None else current.card()


@router.get("/health", tags=[OPERATION])
async def health() -> Health:
    """Answer as long as the process lives, with or without a model."""
    return Health(status="alive")


@router.get("/ready", response_model=Ready, responses=refusals(503), tags=[OPERATION])
async def ready(watcher: Watcher) -> Ready | Response:
    """Answer 200 once a model is in use; `problem` says why a newer one was not taken."""
    if watcher.current is None:
        return problem(503, f"No model in use: {watcher.problem}").response()
    return Ready(
        status="ready",
        model_version=watcher.current.bundle.model_version,
        problem=watcher.problem,
    )


@router.get("/metrics", response_class=PlainTextResponse, tags=[OPERATION])
async def metrics(of: Annotated[Metrics, Depends(_metrics)]) -> Response:
    """Return Prometheus' text format."""
    return Response(of.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _answer(
    judge: Callable[..., Answer],
    watcher: ChampionWatcher,
    body: bytes | Answer,
    *,
    with_contributions: bool,
) -> Response:
    if isinstance(body, Answer):
        return body.response()
    # Milliseconds for a large batch: in a thread, so that others are answered meanwhile.
    answer = await asyncio.to_thread(
        judge, watcher.current, body, with_contributions=with_contributions
    )
    return answer.response()
