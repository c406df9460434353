"""Prometheus metrics of the predictor, with the latency of each stage.

Labels are partitions, stages, causes and model versions.
"""

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

from diabetes_platform.contract.latency import LIVE_STAGES, TOTAL
from serving.app.metrics import ModelMetrics
from serving.predictor.messages import ConsumedChange

LATENCY_STAGES = (*LIVE_STAGES, TOTAL)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0)
_MESSAGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000)


def stage_seconds(
    change: ConsumedChange, *, consumed_ms: float, scored_ms: float, stored_ms: float
) -> dict[str, float]:
    """Return the latency of each stage by name, in seconds; negative if clocks disagree."""
    timestamps = {
        "changed_at": change.message.changed_ms,
        "captured_at": change.message.captured_ms,
        "judged_at": change.message.judged_ms,
        "produced_at": change.produced_ms,
        "consumed_at": consumed_ms,
        "scored_at": scored_ms,
        "stored_at": stored_ms,
    }
    return {
        stage.name: (timestamps[stage.end] - timestamps[stage.start]) / 1000
        for stage in LATENCY_STAGES
    }


class PredictorMetrics(ModelMetrics):
    """The metrics of one predictor."""

    def __init__(self) -> None:
        super().__init__("diabetes_predictor")

        def counter(name: str, description: str, *labels: str) -> Counter:
            return Counter(name, description, labels, **self._options)

        self.predictions = counter("predictions", "Predictions stored.")
        self.replayed = counter("replayed", "Changes scored whose prediction was already stored.")
        self.deletions = counter("deletions", "Patients whose predictions were deleted.")
        self.rejected = counter("rejected", "Messages sent to the dead letters.")
        self.failures = counter("failures", "Failed attempts, each of which is retried.", "cause")
        self.offset_failures = counter("offset_failures", "Failed offset commits.")
        self.skewed = counter("skewed", "Stages with a negative latency (clock skew).", "hop")
        self.batch_rows = Histogram(
            "batch_messages", "Messages per batch.", buckets=_MESSAGES, **self._options
        )
        self.batch_seconds = Histogram(
            "batch_seconds",
            "Time from a batch's arrival to its commit.",
            buckets=_SECONDS,
            **self._options,
        )
        stages = Histogram(
            "hop_seconds",
            "Latency of each stage of a change.",
            ["hop"],
            buckets=_SECONDS,
            **self._options,
        )
        # Looked up once, because every stage of every change is observed.
        self._stages = {stage.name: stages.labels(stage.name) for stage in LATENCY_STAGES}
        description = "Messages of an assigned partition that are not processed yet."
        self.lag = Gauge("lag_messages", description, ["partition"], **self._options)
        self.waiting = Gauge("waiting", "1 while a batch is being retried.", **self._options)

    def observe_stages(self, seconds: Mapping[str, float]) -> None:
        """Observe the stage latencies of one change; negative ones are only counted."""
        for stage, latency in seconds.items():
            if latency < 0:
                self.skewed.labels(stage).inc()
            else:
                self._stages[stage].observe(latency)

    def set_lags(self, by_partition: Mapping[int, int]) -> None:
        """Show the lag of the assigned partitions, and of no other."""
        self.lag.clear()
        for partition, lag in by_partition.items():
            self.lag.labels(str(partition)).set(lag)
