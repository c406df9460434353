"""What the job has counted since it was started or restored, read over Flink's REST interface."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

_COUNTED = {
    "received": re.compile(r"PythonCalc\[\d+\]\.numRecordsIn"),
    "accepted": re.compile(r"Rank\[\d+\]\.numRecordsIn"),
    "newest": re.compile(r"Rank\[\d+\]\.numRecordsOut"),
    **{
        sink: re.compile(rf"{sink}\[\d+\]__Writer\.numRecordsIn")
        for sink in ("images", "rejected", "ignored", "late")
    },
}
"""Flink's own counters of operators: what Python judges, what SQL merges, and what each sink takes.

Each kind is counted where its messages end, so that a lost one is seen; duplicates end nowhere, and
are what the merge took and did not give on.
"""


class Cluster(Protocol):
    """What a Flink cluster tells of a job's metrics."""

    def vertices(self, job_id: str) -> list[str]:
        """Return the ids of a job's vertices."""

    def metric_names(self, job_id: str, vertex: str) -> list[str]:
        """Return the names of the metrics of a vertex's subtasks."""

    def metric_sums(self, job_id: str, vertex: str, names: Sequence[str]) -> dict[str, int]:
        """Return metrics by name, each summed over the subtasks of a vertex."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Messages: received = written + duplicates + rejected + ignored.

    `written` are images and tombstones of the sink topic; `duplicates` valid changes that came
    again or were older than the newest; `late` some of the accepted ones.
    """

    received: int
    written: int
    duplicates: int
    rejected: int
    ignored: int
    late: int

    @property
    def balanced(self) -> bool:
        """Whether each message is in one of them; while messages flow, some are on their way."""
        return self.unaccounted == 0

    @property
    def unaccounted(self) -> int:
        """Messages received that are in none of them; below zero: in one of them, not received."""
        return self.received - (self.written + self.duplicates + self.rejected + self.ignored)

    def __str__(self) -> str:
        return (
            f"{self.received} received = {self.written} written + {self.duplicates} duplicates + "
            f"{self.rejected} rejected + {self.ignored} ignored"
        )


def read_counters(cluster: Cluster, job_id: str) -> Counters:
    """Return the sums over all subtasks; the errors of `cluster` pass."""
    told = dict.fromkeys(_COUNTED, 0)
    for vertex in cluster.vertices(job_id):
        names = {name: _counter(name) for name in cluster.metric_names(job_id, vertex)}
        wanted = {name: counter for name, counter in names.items() if counter is not None}
        for name, value in cluster.metric_sums(job_id, vertex, list(wanted)).items():
            told[wanted[name]] += value
    return Counters(
        received=told["received"],
        written=told["images"],
        duplicates=told["accepted"] - told["newest"],
        rejected=told["rejected"],
        ignored=told["ignored"],
        late=told["late"],
    )


def _counter(metric: str) -> str | None:
    """Return the name of the counter that is Flink's `metric`, or None for any other."""
    return next((name for name, form in _COUNTED.items() if form.fullmatch(metric)), None)
