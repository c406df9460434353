"""The profile of a load run and its statistics."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from diabetes_platform.streaming.load_profile import (
    TIMESTAMPS,
    EventKind,
    LoadProfile,
    LoadStats,
    parse_share,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "share"), [("2%", 0.02), ("0.02", 0.02), ("0", 0), (".5", 0.5), ("12.5%", 0.125)]
)
def test_parses_a_share_as_percentage_or_fraction(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "two", "-1%", "100%", "1", "1e-3", "2%%", "nan"])
def test_rejects_any_other_share_with_the_allowed_range(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: 0 to below 1"):
        parse_share(text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 1, 0, 0), "rate is 0; allowed: above 0"),
        ((float("nan"), 1, 0, 0), "rate is nan"),
        ((1, float("inf"), 0, 0), "seconds is inf"),
        ((1, 1, 0.5, 0.5), "100% together"),
    ],
)
def test_rejects_a_profile_out_of_range(
    values: tuple[float, float, float, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LoadProfile(*values, seed=1)


def total(profile: LoadProfile, *times: float) -> Counter[EventKind]:
    return sum((profile.due(elapsed) for elapsed in times), Counter[EventKind]())


def test_keeps_the_rate_at_any_polling_interval_and_stops_in_time() -> None:
    profile = LoadProfile(100, 10, 0, 0, seed=1)
    assert sum(profile.due(tick / 1000).total() for tick in range(10_001)) == 1000
    assert LoadProfile(100, 10, 0, 0, seed=1).due(60).total() == 1000
    delayed = LoadProfile(100, 10, 0, 0, seed=1)
    assert [delayed.due(t).total() for t in (0, 2.5, 2.5, 2.4, 3)] == [0, 250, 0, 0, 50]


def test_keeps_the_shares_and_the_same_seed_gives_the_same_sequence() -> None:
    kinds = total(LoadProfile(1000, 10, 0.1, 0.05, seed=3), 5, 10)
    assert kinds.total() == 10_000
    assert kinds[EventKind.INVALID] == pytest.approx(1000, rel=0.1)
    assert kinds[EventKind.DUPLICATE] == pytest.approx(500, rel=0.15)
    assert total(LoadProfile(1000, 10, 0.1, 0.05, seed=3), 10) == kinds


def timestamps(milliseconds: int) -> dict[str, datetime]:
    """Timestamps between which each stage takes `milliseconds`."""
    return {
        name: START + timedelta(milliseconds=number * milliseconds)
        for number, name in enumerate(TIMESTAMPS)
    }


def test_counts_one_prediction_per_patient_of_the_run() -> None:
    stats = LoadStats()
    stats.pending = {1, 2}
    for intake_id in (1, 1, 9):
        stats.add_prediction(intake_id, timestamps(10))
    assert (stats.predicted, stats.pending) == (1, {2})


def test_is_complete_with_all_predictions_and_all_rejections() -> None:
    stats = LoadStats()
    assert stats.complete
    stats.sent[EventKind.INVALID], stats.pending = 2, {1}
    stats.rejected = 2
    assert not stats.complete
    stats.add_prediction(1, timestamps(10))
    assert stats.complete
    stats.rejected = 1
    assert not stats.complete


def test_measures_the_latency_of_each_stage() -> None:
    stats = LoadStats()
    stats.pending = set(range(100))
    assert stats.quantile("total", 0.5) is None
    for intake_id in range(100):
        stats.add_prediction(intake_id, timestamps(intake_id + 1))
    assert stats.quantile("check", 0.5) == 50.5
    assert stats.quantile("total", 0.5) == 5 * 50.5
    assert stats.quantile("total", 1.0) == 500
