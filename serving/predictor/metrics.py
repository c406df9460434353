"""Prometheus metrics of the predictor. Labels are partitions, hops, causes and model versions."""

from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from serving.app.metrics import ModelMetrics
from serving.predictor.hops import HOPS

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0)
_ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000)
_PREFIX = "diabetes_predictor"


class PredictorMetrics(ModelMetrics):
    """The metrics of one predictor."""

    def __init__(self) -> None:
        # They double the number of series and tell nothing that a rate needs.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self._registry = CollectorRegistry()
        super().__init__(_PREFIX, registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{_PREFIX}_{name}", text, labels, registry=registry)

        self.predictions = counter("predictions", "Rows stored that were not there before.")
        self.replayed = counter("replayed", "Changes scored whose row was there already.")
        self.deletions = counter("deletions", "Tombstones: patients whose predictions went.")
        self.rejected = counter("rejected", "Messages sent to the dead letters.")
        self.failures = counter("failures", "Attempts that failed and are repeated.", "cause")
        self.offset_failures = counter("offset_failures", "Commits of offsets that failed.")
        self.skewed = counter("skewed", "Hops that seem to end before they begin.", "hop")
        self.batch_rows = Histogram(
            f"{_PREFIX}_batch_messages", "Messages of a batch.", buckets=_ROWS, registry=registry
        )
        self.batch_seconds = Histogram(
            f"{_PREFIX}_batch_seconds",
            "Time from a batch's arrival to its commit.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.hop_seconds = Histogram(
            f"{_PREFIX}_hop_seconds",
            "Time of each hop of a change.",
            ("hop",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.lag = Gauge(
            f"{_PREFIX}_lag_messages",
            "Messages of an assigned partition that are not stored yet.",
            ("partition",),
            registry=registry,
        )
        self.waiting = Gauge(
            f"{_PREFIX}_waiting", "1 while a batch waits for what failed.", registry=registry
        )
        # Looked up once: it is observed for each hop of each change.
        self._hops = {hop.name: self.hop_seconds.labels(hop.name) for hop in HOPS}

    def observe_hops(self, seconds: Mapping[str, float]) -> None:
        """Count how long each hop of one change took; clocks that disagree are counted apart."""
        for hop, took in seconds.items():
            if took < 0:
                self.skewed.labels(hop).inc()
            else:
                self._hops[hop].observe(took)

    def lags(self, by_partition: Mapping[int, int]) -> None:
        """Show the lag of the assigned partitions, and of no other."""
        self.lag.clear()
        for partition, lag in by_partition.items():
            self.lag.labels(str(partition)).set(lag)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
