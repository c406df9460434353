"""Reports: what blocks, and what an outcome says when nothing could be measured."""

from datetime import UTC, datetime

import pytest

from diabetes_platform.quality.expectations import (
    EXPECTATIONS,
    ExpectationSpec,
    Partition,
    PreviousBatch,
)
from diabetes_platform.quality.validation_report import (
    NO_OUTCOMES,
    NO_ROWS,
    NOT_MEASURED,
    NOTHING_TO_COMPARE,
    ExpectationOutcome,
    ValidationReport,
    accept,
    failed_report,
    first_line,
    not_applicable,
    with_severity,
    without_consequences,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PASSED = ExpectationOutcome("has_rows", passed=True, severity="error")
FAILED = ExpectationOutcome("no_missing_age", passed=False, severity="error")
WARNED = ExpectationOutcome("age_normed_centred", passed=False, severity="warning")


def test_statistics_of_a_later_field_that_no_version_measured_do_not_apply() -> None:
    specs = [
        ExpectationSpec("enough_weight_measured", "", {}, "warning", "", statistic_of="weight"),
        ExpectationSpec("weight_mean_plausible", "", {}, "warning", "", statistic_of="weight"),
        ExpectationSpec("weight_in_range", "", {}, "error", ""),
    ]
    outcomes = [
        ExpectationOutcome("enough_weight_measured", passed=False, severity="warning", observed=0),
        ExpectationOutcome("weight_mean_plausible", passed=False, severity="warning"),
        ExpectationOutcome("weight_in_range", passed=True, severity="error"),
    ]
    first, mean, in_range = without_consequences(specs, outcomes, None)
    assert (first.passed, first.note) == (mean.passed, mean.note) == (True, NOT_MEASURED)
    assert in_range is outcomes[2]

    histogram = Partition((0.0, 1.0), (1.0,), 10)
    compared = without_consequences(specs, outcomes, PreviousBatch(10, {"weight": histogram}))
    assert list(compared) == outcomes, "the promoted version measured it"


def outcomes_with(**observed: float | None) -> list[ExpectationOutcome]:
    """All expectations failed with an error, but those with an `observed` value without one."""
    return [
        ExpectationOutcome(spec.name, False, spec.severity, observed=observed[spec.name])
        if spec.name in observed
        else ExpectationOutcome(spec.name, False, spec.severity, error="NoneType / int")
        for spec in EXPECTATIONS
    ]


def test_a_batch_without_rows_fails_for_that_alone() -> None:
    outcomes = without_consequences(EXPECTATIONS, outcomes_with(has_rows=0), None)
    names = {outcome.name for outcome in outcomes if not outcome.passed}
    assert names == {"has_rows", "has_expected_columns", "has_expected_column_types"}
    assert {outcome.note for outcome in outcomes if outcome.passed} == {NO_ROWS}


def test_an_error_that_is_no_consequence_stays() -> None:
    outcomes = outcomes_with()
    assert list(without_consequences(EXPECTATIONS, outcomes, None)) == outcomes


SHIFTED = "glucose_distribution_near_previous_batch"


GLUCOSE = PreviousBatch(768, {"glucose": Partition((40.0, 600.0), (1.0,), 768)})
ALL_MEASURED = {"glucose": 768}


def shifted(divergence: float | str) -> tuple[ExpectationOutcome, ...]:
    """All expectations passed, but that on the distribution of glucose."""
    return tuple(
        ExpectationOutcome(spec.name, spec.name != SHIFTED, spec.severity, observed=observed)
        for spec in EXPECTATIONS
        for observed in [{SHIFTED: divergence, "has_rows": 768}.get(spec.name)]
    )


@pytest.mark.parametrize(
    ("divergence", "blocks"), [(0.15, False), (0.4, True), ("inf", True), ("nan", True)]
)
def test_a_severe_warning_stops_the_batch(divergence: float | str, *, blocks: bool) -> None:
    outcomes = with_severity(EXPECTATIONS, shifted(divergence), GLUCOSE, ALL_MEASURED)
    assert [outcome.name for outcome in outcomes if outcome.blocks] == [SHIFTED] * blocks
    first = with_severity(EXPECTATIONS, shifted(divergence), None, ALL_MEASURED)
    assert not any(outcome.blocks for outcome in first)


@pytest.mark.parametrize(("values", "blocks"), [(384, True), (18, False), (0, False)])
def test_few_values_are_not_severe(values: int, *, blocks: bool) -> None:
    """Half of the rows of a large batch were measured, or only a few."""
    severe = with_severity(EXPECTATIONS, shifted(0.4), GLUCOSE, {"glucose": values})
    assert any(outcome.blocks for outcome in severe) is blocks


def test_an_accepted_failure_warns_with_the_reason() -> None:
    outcomes = with_severity(EXPECTATIONS, shifted(0.4), GLUCOSE, ALL_MEASURED)
    accepted = accept(outcomes, {SHIFTED: "Ada: new assay", "row_count_not_collapsed": "Ada: x"})
    texts = {o.name: (o.passed, o.blocks, o.accepted) for o in accepted if o.accepted}
    assert texts == {SHIFTED: (False, False, "Ada: new assay")}


def test_broken_rows_cannot_be_accepted() -> None:
    assert accept([FAILED], {FAILED.name: "Ada: never mind"}) == (FAILED,)


def test_a_source_without_outcomes_is_not_trained_on() -> None:
    outcomes = without_consequences(EXPECTATIONS, outcomes_with(both_outcomes_present=0), None)
    passed = {outcome.name: outcome.note for outcome in outcomes if outcome.passed}
    assert {"both_outcomes_present", "outcome_mean_plausible"} <= set(passed)
    assert set(passed.values()) == {NO_OUTCOMES}


def test_a_source_with_one_outcome_still_fails() -> None:
    outcomes = outcomes_with(both_outcomes_present=1)
    assert list(without_consequences(EXPECTATIONS, outcomes, None)) == outcomes


def test_a_field_without_a_value_fails_for_that_alone() -> None:
    outcomes = without_consequences(EXPECTATIONS, outcomes_with(enough_insulin_measured=0.0), None)
    passed = {outcome.name: outcome.note for outcome in outcomes if outcome.passed}
    assert "insulin_mean_plausible" in passed
    assert "enough_insulin_measured" not in passed
    assert set(passed.values()) == {"No row has a value: see enough_insulin_measured."}
    assert all("insulin" in name for name in passed)


@pytest.mark.parametrize(
    ("outcomes", "passed"),
    [
        ((PASSED,), True),
        ((PASSED, WARNED), True),
        ((PASSED, FAILED), False),
        ((WARNED, FAILED), False),
    ],
)
def test_errors_block_and_warnings_do_not(
    outcomes: tuple[ExpectationOutcome, ...], *, passed: bool
) -> None:
    assert ValidationReport("run", NOW, outcomes).passed is passed


def test_a_failed_validation_fails_every_expectation_with_the_error() -> None:
    report = failed_report("no database", run_name="run", validated_at=NOW)
    assert [outcome.name for outcome in report.outcomes] == [spec.name for spec in EXPECTATIONS]
    assert {(outcome.passed, outcome.error) for outcome in report.outcomes} == {
        (False, "no database")
    }
    assert not report.passed


def test_nothing_to_compare_passes_with_a_note() -> None:
    spec = next(spec for spec in EXPECTATIONS if spec.compare is not None)
    outcome = not_applicable(spec, NOTHING_TO_COMPARE)
    assert (outcome.passed, outcome.note) == (True, NOTHING_TO_COMPARE)


@pytest.mark.parametrize(
    ("text", "password", "shown"),
    [
        ("gone", None, "gone"),
        ("  gone\nDETAIL: Key (age)=(81)", None, "gone"),
        ("at postgresql://me:s3cret@host", "s3cret", "at postgresql://me:***@host"),
        ("at postgresql://me:a%2Fb@host", "a/b", "at postgresql://me:***@host"),
        ("", "s3cret", ""),
    ],
)
def test_an_error_is_shown_without_rows_and_password(
    text: str, password: str | None, shown: str
) -> None:
    assert first_line(text, password) == shown
