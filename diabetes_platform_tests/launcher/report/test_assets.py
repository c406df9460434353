"""Freshness as a report judges it, by the policy's own windows."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from diabetes_platform.defs.describe import DAILY
from diabetes_platform.launcher.report.assets import freshness, hours

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "state", "said"),
    [
        (timedelta(minutes=5), "passed", "5 min old, allowed 26 h"),
        (timedelta(hours=26), "passed", "26 h old, allowed 26 h"),
        (timedelta(hours=27), "warning", "27 h old, allowed 26 h"),
        (timedelta(hours=37), "failed", "37 h old, allowed 26 h"),
        (timedelta(days=9), "failed", "9 days old, allowed 26 h"),
    ],
)
def test_an_asset_is_fresh_for_as_long_as_its_policy_says(
    age: timedelta, state: str, said: str
) -> None:
    assert freshness(DAILY, NOW - age, NOW) == (state, said)


def test_without_a_second_window_there_is_no_warning() -> None:
    policy = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=2))
    assert freshness(policy, NOW - timedelta(hours=3), NOW)[0] == "failed"
    assert freshness(policy, NOW - timedelta(hours=1), NOW)[0] == "passed"


def test_one_that_was_never_made_is_told_and_one_that_is_asked_for_nothing_has_no_state() -> None:
    assert freshness(DAILY, None, NOW) == ("not run", "never made")
    assert freshness(None, NOW, NOW)[0] is None


def test_durations_are_in_the_unit_that_a_person_would_take() -> None:
    assert [hours(timedelta(minutes=m)) for m in (0, 59, 90, 3000)] == [
        "0 min", "59 min", "2 h", "50 h",
    ]  # fmt: skip
