"""FastAPI dependencies that routes share; the API keeps their objects in its state."""

from typing import Annotated

from fastapi import Depends, Request

from serving.app.champion import ChampionWatcher
from serving.app.metrics import Metrics

# Coroutines: FastAPI runs a plain function in a thread, which costs two switches per request.


async def get_watcher(request: Request) -> ChampionWatcher:
    """Return the watcher that holds the model in use."""
    watcher: ChampionWatcher = request.app.state.watcher
    return watcher


async def get_metrics(request: Request) -> Metrics:
    """Return the worker's metrics."""
    metrics: Metrics = request.app.state.metrics
    return metrics


WatcherDep = Annotated[ChampionWatcher, Depends(get_watcher)]
MetricsDep = Annotated[Metrics, Depends(get_metrics)]
