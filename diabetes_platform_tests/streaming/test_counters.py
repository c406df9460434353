"""What the job's counters are read from, and that a message lost anywhere is missed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from diabetes_platform.streaming.counters import Counters, read_counters

USER_ERRORS = {
    "judge": {
        "PythonCalc[2].numRecordsIn": 100,
        "PythonCalc[2].numRecordsOut": 100,
        "rejected[16]__Writer.numRecordsIn": 15,
        "ignored[25]__Writer.numRecordsIn": 5,
        "late[28]__Writer.numRecordsIn": 2,
    },
    "newest": {
        "Rank[20].numRecordsIn": 80,
        "Rank[20].numRecordsOut": 70,
        "images[22]__Writer.numRecordsIn": 70,
        "images[22]__Committer.numRecordsIn": 0,
    },
}


@dataclass(frozen=True)
class Told:
    """A cluster's answers, written down on a running platform."""

    metrics: Mapping[str, Mapping[str, int]]

    def vertices(self, _job_id: str) -> list[str]:
        return list(self.metrics)

    def metric_names(self, _job_id: str, vertex: str) -> list[str]:
        return list(self.metrics[vertex])

    def metric_sums(self, _job_id: str, vertex: str, names: Sequence[str]) -> dict[str, int]:
        return {name: self.metrics[vertex][name] for name in names}


def test_each_kind_is_counted_where_it_ends() -> None:
    found = read_counters(Told(USER_ERRORS), "job")
    assert found == Counters(
        received=100, written=70, duplicates=10, rejected=15, ignored=5, late=2
    )
    assert found.balanced


@pytest.mark.parametrize(
    ("vertex", "metric"),
    [
        ("judge", "rejected[16]__Writer.numRecordsIn"),
        ("judge", "ignored[25]__Writer.numRecordsIn"),
        pytest.param("newest", "Rank[20].numRecordsIn", id="before the merge"),
        pytest.param("newest", "images[22]__Writer.numRecordsIn", id="between merge and topic"),
    ],
)
def test_a_message_that_is_lost_is_missed(vertex: str, metric: str) -> None:
    fewer = {**USER_ERRORS[vertex], metric: USER_ERRORS[vertex][metric] - 1}
    found = read_counters(Told({**USER_ERRORS, vertex: fewer}), "job")
    assert found.unaccounted == 1
