"""Looks at the job's counters: when every message is accounted for, and when it cannot be said."""

import pytest

from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.streaming.balance import NoBalanceError, judge, look_at_job
from diabetes_platform.streaming.counters import Counters


def look(received: int, missing: int = 0) -> Counters:
    """A look at which `missing` of the received messages are in no other counter."""
    written = received - missing - 30
    return Counters(received, written, duplicates=10, rejected=15, ignored=5, late=3)


@pytest.mark.parametrize(
    ("looks", "verdict"),
    [
        pytest.param([look(100)], "balanced", id="at the first look"),
        pytest.param([look(100, 7), look(120, 3), look(120)], "balanced", id="at last"),
        pytest.param([look(100, 7), look(200, 3), look(300, 5)], "under way", id="they flow"),
        pytest.param([look(100, 7), look(100, 7)], "unbalanced", id="nothing flows"),
        pytest.param([look(100, 50), look(110, 50)], "unbalanced", id="more than flows"),
        pytest.param([look(100, -7), look(100, -7)], "unbalanced", id="one too many"),
        pytest.param([look(900, 800), look(100), look(110)], "balanced", id="restored meanwhile"),
        pytest.param([look(900), look(100, 50), look(101, 50)], "unbalanced", id="anew, and lost"),
    ],
)
def test_the_verdict_on_some_looks(looks: list[Counters], verdict: str) -> None:
    assert judge(looks).verdict == verdict


def test_the_text_says_what_was_found() -> None:
    assert judge([look(100)]).text == (
        "every message is accounted for: 100 received = 70 written + 10 duplicates + "
        "15 rejected + 5 ignored"
    )
    assert judge([look(100, 7)] * 2).text.startswith(
        "7 messages unaccounted for at each of 2 looks"
    )
    flowing = judge([look(100, 7), look(2100, 7)])
    assert "7 messages unaccounted for, no more than the 2,000 that came" in flowing.text


def test_of_no_look_nothing_is_said() -> None:
    with pytest.raises(ValueError, match="given none, allowed at least one"):
        judge([])


def test_a_cluster_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(NoBalanceError, match="Flink's JobManager does not answer"):
        look_at_job(f"http://{HOST}:{free_port()}")
