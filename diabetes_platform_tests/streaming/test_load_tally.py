"""Answers are counted once, and timed hop by hop."""

from datetime import UTC, datetime, timedelta

from diabetes_platform.streaming.load_plan import Kind
from diabetes_platform.streaming.load_tally import STAMPS, LoadTally

START = datetime(2026, 1, 1, tzinfo=UTC)


def stamps(milliseconds: int) -> dict[str, datetime]:
    """Each hop takes `milliseconds`."""
    return {
        name: START + timedelta(milliseconds=at * milliseconds) for at, name in enumerate(STAMPS)
    }


def test_each_patient_of_the_run_is_answered_once() -> None:
    tally = LoadTally()
    tally.waiting = {1, 2}
    for intake_id in (1, 1, 9):
        tally.answer(intake_id, stamps(10))
    assert (tally.answered, tally.waiting) == (1, {2})


def test_it_is_complete_with_all_answers_and_all_rejections() -> None:
    tally = LoadTally()
    assert tally.complete
    tally.sent[Kind.INVALID], tally.waiting = 2, {1}
    tally.rejected = 2
    assert not tally.complete
    tally.answer(1, stamps(10))
    assert tally.complete
    tally.rejected = 1
    assert not tally.complete


def test_the_times_are_those_of_the_hops() -> None:
    tally = LoadTally()
    tally.waiting = set(range(100))
    assert tally.quantile("total", 0.5) is None
    for intake_id in range(100):
        tally.answer(intake_id, stamps(intake_id + 1))
    assert tally.quantile("check", 0.5) == 50.5
    assert tally.quantile("total", 0.5) == 5 * 50.5
    assert tally.quantile("total", 1.0) == 500
