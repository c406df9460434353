"""The summary of a report: the most severe state, counts, failures."""

import pytest

from diabetes_platform.report.report import State, most_severe
from diabetes_platform_tests.report.reports import asset, check, report


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], "not run"),
        (["not run", "inconclusive"], "inconclusive"),
        (["passed", "not run", "inconclusive"], "passed"),
        (["passed", "warning"], "warning"),
        (["warning", "failed", "passed"], "failed"),
    ],
)
def test_the_most_severe_state_wins(states: list[State], expected: State) -> None:
    assert most_severe(states) == expected


def test_failures_list_errors_first_and_omit_passed_checks() -> None:
    summary = report(
        asset("a/b", check("one", "warning"), check("two", "passed")),
        asset("c/d", check("three", "failed")),
    )
    assert [(name, failed.name) for name, failed in summary.failures] == [
        ("c/d", "three"),
        ("a/b", "one"),
    ]
    assert (summary.counts["failed"], summary.counts["warning"], summary.counts["passed"]) == (
        1,
        1,
        1,
    )
    assert summary.state == "failed"


def test_a_stale_asset_or_an_unhealthy_service_determines_the_state() -> None:
    stale = report(asset("a/b", check("one", "passed"), freshness="warning"))
    assert stale.state == "warning"
    unhealthy = report(
        asset("a/b", check("one", "passed")), issues=(("job patients", "is FAILED"),)
    )
    assert unhealthy.state == "failed"
