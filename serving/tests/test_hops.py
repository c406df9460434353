"""The time of each hop from the stamps of a prediction."""

from datetime import UTC, datetime, timedelta
from typing import Any

from serving.app.patients.presenter import stage_latencies, total_milliseconds

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(milliseconds: float) -> datetime:
    return START + timedelta(milliseconds=milliseconds)


def row(**changed: Any) -> dict[str, Any]:
    stamps = {
        "received_at": at(0),
        "outcome_recorded_at": None,
        "changed_at": at(4),
        "captured_at": at(14),
        "judged_at": at(34),
        "consumed_at": at(36),
        "scored_at": at(37),
        "stored_at": at(40.5),
    }
    return stamps | changed


def times(given: dict[str, Any]) -> list[float | None]:
    return [hop["milliseconds"] for hop in stage_latencies(given)]


def test_each_hop_lies_between_two_stamps() -> None:
    assert times(row()) == [4, 10, 20, 2, 1, 3.5]
    assert total_milliseconds(row()) == 36.5


def test_a_missing_stamp_leaves_both_of_its_hops_open() -> None:
    assert times(row(judged_at=None)) == [4, 10, None, None, 1, 3.5]
    without = row()
    del without["judged_at"]
    assert times(without) == [4, 10, None, None, 1, 3.5]


def test_a_stamp_cut_to_milliseconds_makes_no_negative_time() -> None:
    assert times(row(received_at=at(4.7)))[0] == 0


def test_the_way_of_a_later_outcome_begins_with_the_outcome() -> None:
    later = row(received_at=at(-1e9), outcome_recorded_at=at(1))
    assert times(later)[0] == 3
    not_yet_predicted = row(outcome_recorded_at=at(5000))
    assert times(not_yet_predicted)[0] == 4
