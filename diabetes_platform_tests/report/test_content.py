"""What a report makes of its parts: the worst state, counts, what needs attention."""

import pytest

from diabetes_platform.report.content import State, worst
from diabetes_platform_tests.report.reports import asset, check, report


@pytest.mark.parametrize(
    ("states", "found"),
    [
        ([], "not run"),
        (["not run", "not judged"], "not judged"),
        (["passed", "not run", "not judged"], "passed"),
        (["passed", "warning"], "warning"),
        (["warning", "failed", "passed"], "failed"),
    ],
)
def test_the_worst_of_some_states(states: list[State], found: State) -> None:
    assert worst(states) == found


def test_what_failed_comes_before_what_warns_and_what_passed_is_no_alarm() -> None:
    found = report(
        asset("a/b", check("one", "warning"), check("two", "passed")),
        asset("c/d", check("three", "failed")),
    )
    assert [(name, one.name) for name, one in found.alarming] == [("c/d", "three"), ("a/b", "one")]
    assert (found.counts["failed"], found.counts["warning"], found.counts["passed"]) == (1, 1, 1)
    assert found.state == "failed"


def test_an_asset_that_is_stale_or_a_service_that_is_ill_is_the_state_of_all() -> None:
    stale = report(asset("a/b", check("one", "passed"), freshness="warning"))
    assert stale.state == "warning"
    ill = report(asset("a/b", check("one", "passed")), troubles=(("job patients", "is FAILED"),))
    assert ill.state == "failed"
