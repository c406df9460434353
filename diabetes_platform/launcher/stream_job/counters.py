"""What the job has counted since it was started or restored, read over Flink's REST interface."""

import re
from dataclasses import dataclass

from diabetes_platform.launcher.flink_cluster import FlinkCluster

_JUDGE = "judge"
_MERGE = re.compile(r"Rank\[\d+\]\.numRecords(?:In|Out)")


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
        known = self.written + self.duplicates + self.rejected + self.ignored
        return self.received == known

    def __str__(self) -> str:
        return (
            f"{self.received} received = {self.written} written + {self.duplicates} duplicates + "
            f"{self.rejected} rejected + {self.ignored} ignored"
        )


def read_counters(cluster: FlinkCluster, job_id: str) -> Counters:
    """Return the sums over all subtasks; LauncherError where the cluster does not answer."""
    found: dict[str, int] = {}
    for vertex in cluster.vertices(job_id):
        wanted = [name for name in cluster.metric_names(job_id, vertex) if _counts(name)]
        found |= cluster.metric_sums(job_id, vertex, wanted)
    merged = {name.rpartition(".")[2]: value for name, value in found.items() if "Rank" in name}
    told = {name.removeprefix(f"{_JUDGE}."): value for name, value in found.items()}
    written = merged.get("numRecordsOut", 0)
    return Counters(
        received=told.get("received", 0),
        written=written,
        duplicates=told.get("accepted", 0) - written,
        rejected=told.get("rejected", 0),
        ignored=told.get("ignored", 0),
        late=told.get("late", 0),
    )


def _counts(name: str) -> bool:
    own = ("received", "accepted", "rejected", "ignored", "late")
    return _MERGE.fullmatch(name) is not None or name in {f"{_JUDGE}.{each}" for each in own}
