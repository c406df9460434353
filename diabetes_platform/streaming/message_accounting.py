"""Message accounting of the stream's Flink job: every received message has one outcome.

Flink reports its counters some seconds late and not all at the same time, so a single sample of a
busy job proves little. A single sample in which the counters add up is proof enough.
"""

import contextlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from diabetes_platform.clients.errors import ServiceError
from diabetes_platform.clients.flink import RUNNING, FlinkCluster
from diabetes_platform.contract.events import STREAM_JOB
from diabetes_platform.polling import wait_until

SAMPLING_SECONDS = 30.0
"""Flink collects its counters every ten seconds, so this is long enough for three collections."""
SAMPLING_INTERVAL = 5.0
_REQUEST_SECONDS = 5.0
_METRICS = {
    "received": re.compile(r"PythonCalc\[\d+\]\.numRecordsIn"),
    "accepted": re.compile(r"Rank\[\d+\]\.numRecordsIn"),
    "newest": re.compile(r"Rank\[\d+\]\.numRecordsOut"),
    **{
        sink: re.compile(rf"{sink}\[\d+\]__Writer\.numRecordsIn")
        for sink in ("images", "rejected", "ignored", "late")
    },
}
"""Flink's operator metrics: input of the Python validation, of the SQL merge and of each sink.

Each outcome is counted at its sink, so that a message lost on the way is noticed. Duplicates reach
no sink: their number is the merge's input minus its output.
"""


class CountersUnavailableError(RuntimeError):
    """The job's counters cannot be read; the message gives the reason."""


class JobMetrics(Protocol):
    """The metrics of a job that the counters are read from."""

    def vertices(self, job_id: str) -> list[str]:
        """Return the ids of a job's vertices."""

    def metric_names(self, job_id: str, vertex: str) -> list[str]:
        """Return the metric names of a vertex's subtasks."""

    def metric_sums(self, job_id: str, vertex: str, names: Sequence[str]) -> dict[str, int]:
        """Return the sum of each metric over the subtasks of a vertex."""


@dataclass(frozen=True, slots=True)
class MessageCounters:
    """Messages since the job was started or restored, by outcome.

    received = written + duplicates + rejected + ignored. `written` counts images and tombstones in
    the sink topic, `duplicates` valid changes that arrived twice or were older than the newest one.
    `late` is a part of the accepted changes.
    """

    received: int
    written: int
    duplicates: int
    rejected: int
    ignored: int
    late: int

    @property
    def balanced(self) -> bool:
        """Whether every received message has an outcome; messages in flight have none yet."""
        return self.unaccounted == 0

    @property
    def unaccounted(self) -> int:
        """Received messages without an outcome; negative if there are more outcomes."""
        return self.received - (self.written + self.duplicates + self.rejected + self.ignored)

    def __str__(self) -> str:
        return (
            f"{self.received} received = {self.written} written + {self.duplicates} duplicates + "
            f"{self.rejected} rejected + {self.ignored} ignored"
        )


@dataclass(frozen=True, slots=True)
class MessageAccounting:
    """The result of several samples; `counters` is the sample with the smallest difference.

    `largest_increase` is the largest number of messages received between two samples.
    """

    verdict: Literal["balanced", "in flight", "unbalanced"]
    counters: MessageCounters
    largest_increase: int
    samples: int

    @property
    def text(self) -> str:
        """The verdict in one line."""
        if self.verdict == "balanced":
            return f"every message is accounted for: {self.counters}"
        gap = f"{abs(self.counters.unaccounted):,} messages"
        if self.verdict == "in flight":
            return (
                f"inconclusive: messages arrived during all {self.samples} samples; {gap} "
                f"unaccounted for, no more than the {self.largest_increase:,} that arrived between "
                "two samples"
            )
        return f"{gap} unaccounted for in each of {self.samples} samples: {self.counters}"


def read_counters(metrics: JobMetrics, job_id: str) -> MessageCounters:
    """Return the counters summed over all subtasks; errors of `metrics` pass through."""
    totals = dict.fromkeys(_METRICS, 0)
    for vertex in metrics.vertices(job_id):
        counter_by_metric = {name: _counter(name) for name in metrics.metric_names(job_id, vertex)}
        names = [name for name, counter in counter_by_metric.items() if counter is not None]
        for name, value in metrics.metric_sums(job_id, vertex, names).items():
            counter = counter_by_metric[name]
            if counter is not None:
                totals[counter] += value
    return MessageCounters(
        received=totals["received"],
        written=totals["images"],
        duplicates=totals["accepted"] - totals["newest"],
        rejected=totals["rejected"],
        ignored=totals["ignored"],
        late=totals["late"],
    )


def evaluate_samples(samples: Sequence[MessageCounters]) -> MessageAccounting:
    """Evaluate samples in chronological order; ValueError if there are none.

    A restored job counts from zero again: samples from before a restart are ignored.
    """
    if not samples:
        raise ValueError("at least one sample is required")
    restarts = (
        index
        for index in range(1, len(samples))
        if samples[index].received < samples[index - 1].received
    )
    samples = samples[max(restarts, default=0) :]
    pairs = itertools.pairwise(samples)
    largest_increase = max(
        (later.received - earlier.received for earlier, later in pairs), default=0
    )
    closest = min(samples, key=lambda sample: abs(sample.unaccounted))
    verdict: Literal["balanced", "in flight", "unbalanced"] = "unbalanced"
    if closest.balanced:
        verdict = "balanced"
    elif abs(closest.unaccounted) <= largest_increase:
        verdict = "in flight"
    return MessageAccounting(verdict, closest, largest_increase, len(samples))


def account_for_messages(flink_url: str) -> MessageAccounting:
    """Sample the running job's counters until they add up, for half a minute at most.

    Raises CountersUnavailableError if the job does not run or Flink does not answer.
    """
    cluster = FlinkCluster(flink_url, seconds=_REQUEST_SECONDS)
    samples: list[MessageCounters] = []
    try:
        job_id = _running_job(cluster)

        def sample() -> bool:
            samples.append(read_counters(cluster, job_id))
            return samples[-1].balanced

        with contextlib.suppress(TimeoutError):
            wait_until(sample, timeout=SAMPLING_SECONDS, interval=SAMPLING_INTERVAL)
    except ServiceError as error:
        raise CountersUnavailableError(str(error)) from error
    return evaluate_samples(samples)


def _running_job(cluster: FlinkCluster) -> str:
    running = [job for job in cluster.jobs() if (job.name, job.state) == (STREAM_JOB, RUNNING)]
    if not running:
        raise CountersUnavailableError(f"job {STREAM_JOB} does not run")
    return running[-1].id


def _counter(metric: str) -> str | None:
    """Return the key of _METRICS that a Flink metric belongs to, None for any other metric."""
    return next((name for name, pattern in _METRICS.items() if pattern.fullmatch(metric)), None)
