"""Prometheus metrics of the API, and the ASGI middleware that counts requests.

Labels are routes, status codes and model versions, never request paths or measurements.
"""

from pathlib import Path
from time import perf_counter
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)


class ModelMetrics:
    """A registry whose metric names begin with `prefix`: the model in use and failed reloads."""

    def __init__(self, prefix: str) -> None:
        # They double the number of series without adding information.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._options: dict[str, Any] = {"namespace": prefix, "registry": self._registry}
        self._model = Gauge(
            "model_info",
            "1 for the model version in use.",
            ["model_version"],
            multiprocess_mode="livemax",
            **self._options,
        )
        self._reloads = Counter("model_reloads", "Models loaded.", **self._options)
        self._reload_failures = Counter(
            "model_reload_failures",
            "Failed polls of the model store: refused (the bundle) or unreadable (the store).",
            ["reason"],
            **self._options,
        )

    def model_changed(self, previous: str | None, current: str) -> None:
        """Show `current` as the version in use."""
        if previous is not None:
            self._model.labels(previous).set(0)
        self._model.labels(current).set(1)
        self._reloads.inc()

    def reload_failed(self, reason: str) -> None:
        """Count one failed poll of the model store."""
        self._reload_failures.labels(reason).inc()

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class Metrics(ModelMetrics):
    """The metrics of one worker; with a shared directory, `exposition` sums up all workers'."""

    def __init__(self, multiprocess_dir: Path | None = None) -> None:
        super().__init__("diabetes_api")
        self._multiprocess_dir = multiprocess_dir
        labels = ["route", "status"]
        description = "Requests by route and response status."
        self._requests = Counter("requests", description, labels, **self._options)
        self._seconds = Histogram(
            "request_seconds",
            "Time from the arrival of the complete request to the response.",
            ["route"],
            buckets=_BUCKETS,
            **self._options,
        )
        description = "Open event streams of patients."
        self.streams = Gauge("streams", description, multiprocess_mode="livesum", **self._options)

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count one response."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        if self._multiprocess_dir is None:
            return super().exposition()
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._multiprocess_dir))  # type: ignore[no-untyped-call]
        return generate_latest(registry)


class CountRequests:
    """ASGI middleware that observes each response under its route's template."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count its response when it starts."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()

        async def observe_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                seconds = perf_counter() - started
                self._metrics.observe(route_of(scope), message["status"], seconds)
            await send(message)

        await self._app(scope, receive, observe_and_send)


def route_of(scope: Scope) -> str:
    """Return the template of the matched route; paths would create a series per patient."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else scope.get("root_path") or "unmatched"
