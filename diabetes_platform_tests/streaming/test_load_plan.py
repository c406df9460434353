"""Rate and shares of a load run."""

from collections import Counter

import pytest

from diabetes_platform.streaming.load_plan import Kind, LoadPlan, read_share


@pytest.mark.parametrize(
    ("text", "share"), [("2%", 0.02), ("0.02", 0.02), ("0", 0), (".5", 0.5), ("12.5%", 0.125)]
)
def test_a_share_is_a_percentage_or_a_fraction(text: str, share: float) -> None:
    assert read_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "two", "-1%", "100%", "1", "1e-3", "2%%", "nan"])
def test_any_other_share_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="allowed 0 to below 1"):
        read_share(text)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ((0, 1, 0, 0), "rate: given 0"),
        ((float("nan"), 1, 0, 0), "rate"),
        ((1, float("inf"), 0, 0), "seconds: given inf"),
        ((1, 1, 0.5, 0.5), "together"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    values: tuple[float, float, float, float], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        LoadPlan(*values, seed=1)


def total(plan: LoadPlan, *moments: float) -> Counter[Kind]:
    return sum((plan.due(moment) for moment in moments), Counter[Kind]())


def test_the_rate_is_kept_however_often_it_is_asked_and_ends_in_time() -> None:
    often = LoadPlan(100, 10, 0, 0, seed=1)
    assert sum(often.due(tick / 1000).total() for tick in range(10_001)) == 1000
    assert LoadPlan(100, 10, 0, 0, seed=1).due(60).total() == 1000
    late = LoadPlan(100, 10, 0, 0, seed=1)
    assert [late.due(moment).total() for moment in (0, 2.5, 2.5, 2.4, 3)] == [0, 250, 0, 0, 50]


def test_the_shares_are_kept_and_the_seed_decides_the_order() -> None:
    plan = LoadPlan(1000, 10, 0.1, 0.05, seed=3)
    counted = total(plan, 5, 10)
    assert counted.total() == 10_000
    assert counted[Kind.INVALID] == pytest.approx(1000, rel=0.1)
    assert counted[Kind.DUPLICATE] == pytest.approx(500, rel=0.15)
    again = LoadPlan(1000, 10, 0.1, 0.05, seed=3)
    assert total(again, 10) == counted
