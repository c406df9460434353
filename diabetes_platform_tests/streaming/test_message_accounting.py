"""Message accounting: reading Flink's counters, and evaluating samples of them."""

import pytest

from diabetes_platform.clients.errors import ServiceError
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.streaming.message_accounting import (
    MessageCounters,
    account_for_messages,
    evaluate_samples,
    message_counters,
    missing_counters,
)

METRICS = {
    "PythonCalc[2].numRecordsIn": 100,
    "PythonCalc[2].numRecordsOut": 100,
    "rejected[16]__Writer.numRecordsIn": 15,
    "ignored[25]__Writer.numRecordsIn": 5,
    "late[28]__Writer.numRecordsIn": 2,
    "Rank[20].numRecordsIn": 80,
    "Rank[20].numRecordsOut": 70,
    "images[22]__Writer.numRecordsIn": 70,
    "images[22]__Committer.numRecordsIn": 0,
}
"""Metrics as a running platform reported them."""


def test_counts_each_outcome_at_its_sink() -> None:
    counters = message_counters(METRICS)
    assert counters == MessageCounters(
        received=100, written=70, duplicates=10, rejected=15, ignored=5, late=2
    )
    assert counters.balanced


@pytest.mark.parametrize(
    "metric",
    [
        "rejected[16]__Writer.numRecordsIn",
        "ignored[25]__Writer.numRecordsIn",
        pytest.param("Rank[20].numRecordsIn", id="before the merge"),
        pytest.param("images[22]__Writer.numRecordsIn", id="between merge and topic"),
    ],
)
def test_notices_a_message_lost_at_any_operator(metric: str) -> None:
    assert message_counters({**METRICS, metric: METRICS[metric] - 1}).unaccounted == 1


@pytest.mark.parametrize(
    ("metric", "missing"),
    [
        ("PythonCalc[2].numRecordsIn", "received"),
        ("Rank[20].numRecordsOut", "newest"),
        ("images[22]__Writer.numRecordsIn", "images"),
    ],
)
def test_a_counter_that_flink_has_not_collected_is_not_zero(metric: str, missing: str) -> None:
    assert missing_counters(METRICS) == []
    assert missing_counters({k: v for k, v in METRICS.items() if k != metric}) == [missing]


def test_counters_balance_only_if_every_message_has_an_outcome() -> None:
    assert MessageCounters(10, 4, 3, 2, 1, late=1).balanced
    assert not MessageCounters(10, 4, 3, 2, 0, late=0).balanced


def sample(received: int, missing: int = 0) -> MessageCounters:
    """A sample in which `missing` of the received messages have no outcome."""
    written = received - missing - 30
    return MessageCounters(received, written, duplicates=10, rejected=15, ignored=5, late=3)


@pytest.mark.parametrize(
    ("samples", "verdict"),
    [
        pytest.param([sample(100)], "balanced", id="first sample"),
        pytest.param([sample(100, 7), sample(120, 3), sample(120)], "balanced", id="last sample"),
        pytest.param(
            [sample(100, 7), sample(200, 3), sample(300, 5)], "in flight", id="messages arrive"
        ),
        pytest.param([sample(100, 7), sample(100, 7)], "unbalanced", id="no messages arrive"),
        pytest.param([sample(100, 50), sample(110, 50)], "unbalanced", id="gap exceeds arrivals"),
        pytest.param([sample(100, -7), sample(100, -7)], "unbalanced", id="too many outcomes"),
        pytest.param(
            [sample(900, 800), sample(100), sample(110)], "balanced", id="restored meanwhile"
        ),
        pytest.param(
            [sample(900), sample(100, 50), sample(101, 50)], "unbalanced", id="lost after a restore"
        ),
    ],
)
def test_evaluates_samples(samples: list[MessageCounters], verdict: str) -> None:
    assert evaluate_samples(samples).verdict == verdict


def test_describes_the_result_in_one_line() -> None:
    assert evaluate_samples([sample(100)]).text == (
        "every message is accounted for: 100 received = 70 written + 10 duplicates + "
        "15 rejected + 5 ignored"
    )
    assert evaluate_samples([sample(100, 7)] * 2).text.startswith(
        "7 messages unaccounted for in each of 2 samples"
    )
    in_flight = evaluate_samples([sample(100, 7), sample(2100, 7)])
    assert "7 messages unaccounted for, no more than the 2,000 that arrived" in in_flight.text


def test_refuses_to_evaluate_no_samples() -> None:
    with pytest.raises(ValueError, match="at least one sample is required"):
        evaluate_samples([])


def test_fails_if_flink_does_not_answer() -> None:
    with pytest.raises(ServiceError, match="Flink's JobManager does not answer"):
        account_for_messages(f"http://{HOST}:{free_port()}")
