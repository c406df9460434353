"""Message accounting of the stream's Flink job: every received message has one outcome.

Flink reports its counters some seconds late and not all at the same time, so a single sample of a
busy job proves little. A single sample in which the counters add up is proof enough.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from diabetes_platform.clients.errors import ServiceError
from diabetes_platform.clients.flink import RUNNING, FlinkCluster
from diabetes_platform.contract.topics import STREAM_JOB
from diabetes_platform.polling import wait_until

Verdict = Literal["balanced", "in flight", "unbalanced"]
SAMPLING_SECONDS = 30.0
"""Flink collects its counters every ten seconds, so this is long enough for three collections."""
SAMPLING_INTERVAL = 5.0
_REQUEST_SECONDS = 5.0
_METRICS = {
    "received": r"PythonCalc\[\d+\]\.numRecordsIn",
    "accepted": r"Rank\[\d+\]\.numRecordsIn",
    "newest": r"Rank\[\d+\]\.numRecordsOut",
    **{
        sink: rf"{sink}\[\d+\]__Writer\.numRecordsIn"
        for sink in ("images", "rejected", "ignored", "late")
    },
}
"""Flink's operator metrics: input of the Python validation, of the SQL merge and of each sink.

Each outcome is counted at its sink, so that a message lost on the way is noticed. Duplicates reach
no sink: their number is the merge's input minus its output.
"""
_COUNTED = re.compile("|".join(_METRICS.values()))


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

    verdict: Verdict
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


def read_counters(cluster: FlinkCluster, job_id: str) -> MessageCounters | None:
    """Return the counters of a job, summed over all subtasks. Raises ServiceError.

    The first request makes Flink collect them: None as long as a counter is missing.
    """
    metrics = Counter[str]()
    for vertex in cluster.vertices(job_id):
        names = [name for name in cluster.metric_names(job_id, vertex) if _COUNTED.fullmatch(name)]
        metrics.update(cluster.metric_sums(job_id, vertex, names))
    return None if missing_counters(metrics) else message_counters(metrics)


def missing_counters(metrics: Mapping[str, int]) -> list[str]:
    """Return the outcomes that Flink's metrics do not count yet."""
    return [
        name
        for name, pattern in _METRICS.items()
        if not any(re.fullmatch(pattern, metric) for metric in metrics)
    ]


def message_counters(metrics: Mapping[str, int]) -> MessageCounters:
    """Return the counters in Flink's metrics; other metrics are ignored."""
    totals = {
        name: sum(value for metric, value in metrics.items() if re.fullmatch(pattern, metric))
        for name, pattern in _METRICS.items()
    }
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
    restart = 0
    for index, (earlier, later) in enumerate(pairwise(samples), start=1):
        if later.received < earlier.received:
            restart = index
    samples = samples[restart:]
    increases = (later.received - earlier.received for earlier, later in pairwise(samples))
    largest_increase = max(increases, default=0)
    closest = min(samples, key=lambda sample: abs(sample.unaccounted))
    verdict: Verdict = "unbalanced"
    if closest.balanced:
        verdict = "balanced"
    elif abs(closest.unaccounted) <= largest_increase:
        verdict = "in flight"
    return MessageAccounting(verdict, closest, largest_increase, len(samples))


def account_for_messages(flink_url: str) -> MessageAccounting:
    """Sample the running job's counters until they add up, for half a minute at most.

    Raises ServiceError if the job does not run or Flink does not answer.
    """
    cluster = FlinkCluster(flink_url, seconds=_REQUEST_SECONDS)
    job_ids = [job.id for job in cluster.jobs() if (job.name, job.state) == (STREAM_JOB, RUNNING)]
    if not job_ids:
        raise ServiceError(f"job {STREAM_JOB} does not run")
    samples: list[MessageCounters] = []

    def sample() -> bool:
        counters = read_counters(cluster, job_ids[-1])
        if counters is None:
            return False
        samples.append(counters)
        return counters.balanced

    with contextlib.suppress(TimeoutError):
        wait_until(sample, timeout=SAMPLING_SECONDS, interval=SAMPLING_INTERVAL)
    if not samples:
        raise ServiceError(
            f"Flink has no counters of job {STREAM_JOB} after {SAMPLING_SECONDS:.0f} s: the "
            "JobManager may not reach the metrics of a TaskManager"
        )
    return evaluate_samples(samples)
