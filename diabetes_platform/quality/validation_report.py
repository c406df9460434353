"""Validation results: one outcome per expectation, without patient values.

It does not import Great Expectations, so that Dagster's code location can import it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import quote

from diabetes_platform.contract.fields import FEATURES, OUTCOME, Field
from diabetes_platform.contract.tables import filled_name, normed_name
from diabetes_platform.quality.expectations import (
    ACCEPTABLE,
    BOTH_OUTCOMES,
    EXPECTATIONS,
    HAS_COLUMN_TYPES,
    HAS_COLUMNS,
    HAS_ROWS,
    ExpectationSpec,
    PreviousBatch,
    Severity,
    measured_share_name,
)

Observed = int | float | str | None

NOTHING_TO_COMPARE = "No promoted version to compare with."
NOT_MEASURED = "Neither this batch nor the promoted version measured it."
NO_OUTCOMES = "The source has no outcomes: its patients are served, not trained on."
NO_ROWS = f"The batch has no rows: see {HAS_ROWS}."


@dataclass(frozen=True, slots=True)
class ExpectationOutcome:
    """The result of one expectation.

    `observed` is a count, a share or a statistic of the batch, and `allowed` its limits.
    `unexpected_count` of the `element_count` rows violate the expectation, and `record_ids` has at
    most 20 ids of them. `note` explains why it does not apply, `error` why it could not be
    evaluated, `accepted` by whom, when and why a failure that would stop the batch was accepted.
    """

    name: str
    passed: bool
    severity: Severity
    observed: Observed = None
    unexpected_count: int | None = None
    element_count: int | None = None
    record_ids: tuple[str, ...] = ()
    note: str | None = None
    error: str | None = None
    accepted: str | None = None
    allowed: str | None = None

    @property
    def blocks(self) -> bool:
        """Whether this outcome stops the batch."""
        return not self.passed and self.severity == "error"


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """One validation of the staging table: an outcome for every expectation, in their order.

    `docs_link` is its page, relative to the index of the Data Docs, with an anchor for the name of
    each outcome. `docs_error` explains why there is no page; it does not change the outcomes.
    """

    run_name: str
    validated_at: datetime
    outcomes: tuple[ExpectationOutcome, ...]
    docs_link: str | None = None
    docs_error: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the batch may be promoted: no failed expectation of severity `error`."""
        return not any(outcome.blocks for outcome in self.outcomes)


def first_line(text: str, password: str | None = None) -> str:
    """Return the first line of an error, without `password` as typed or as written in a URL.

    The other lines may quote a row (`DETAIL: …`), a statement or a traceback.
    """
    line = text.strip().partition("\n")[0].strip()
    for secret in (password, quote(password, safe="")) if password else ():
        line = line.replace(secret, "***")
    return line


def not_applicable(spec: ExpectationSpec, note: str) -> ExpectationOutcome:
    """Return the passed outcome of an expectation that has nothing to evaluate."""
    return ExpectationOutcome(spec.name, passed=True, severity=spec.severity, note=note)


def without_consequences(
    specs: Sequence[ExpectationSpec],
    outcomes: Iterable[ExpectationOutcome],
    previous: PreviousBatch | None,
) -> tuple[ExpectationOutcome, ...]:
    """Return the outcomes; marks those as not applicable that only follow from another outcome.

    Without rows, no value can be evaluated; without a value of a field, no statistic of it. The
    expectations about a later field do not apply if neither version measured it, and those about
    the outcome do not apply if the source has none.
    """
    by_name = {outcome.name: outcome for outcome in outcomes}
    notes = _notes(specs, by_name, previous)
    return tuple(
        not_applicable(spec, notes[spec.name]) if spec.name in notes else by_name[spec.name]
        for spec in specs
    )


def with_severity(
    specs: Sequence[ExpectationSpec],
    outcomes: Sequence[ExpectationOutcome],
    previous: PreviousBatch | None,
    counts: Mapping[str, int],
) -> tuple[ExpectationOutcome, ...]:
    """Return the outcomes; a failed warning whose observed value is severe becomes an error.

    `counts` has the number of values of each field in the batch, as `count_values` returns it.
    """
    return tuple(
        replace(outcome, severity="error")
        if not outcome.passed
        and previous is not None
        and _is_severe(spec, outcome.observed, previous, counts)
        else outcome
        for spec, outcome in zip(specs, outcomes, strict=True)
    )


def _is_severe(
    spec: ExpectationSpec, observed: Observed, previous: PreviousBatch, counts: Mapping[str, int]
) -> bool:
    """Whether the observed value is severe; one that is not finite, which is text, always is."""
    if spec.is_severe is None or spec.column is None or observed is None:
        return False
    number = float(observed)
    count = counts.get(spec.column, 0)
    return not math.isfinite(number) or spec.is_severe(previous, number, count)


def accept(
    outcomes: Iterable[ExpectationOutcome], reasons: Mapping[str, str]
) -> tuple[ExpectationOutcome, ...]:
    """Return the outcomes; failures that an operator accepted, by name and reason, only warn.

    Failures of expectations that are not acceptable stay.
    """
    return tuple(
        replace(outcome, severity="warning", accepted=reasons[outcome.name])
        if outcome.blocks and outcome.name in ACCEPTABLE.intersection(reasons)
        else outcome
        for outcome in outcomes
    )


def _notes(
    specs: Sequence[ExpectationSpec],
    by_name: Mapping[str, ExpectationOutcome],
    previous: PreviousBatch | None,
) -> dict[str, str]:
    """Return the reason why an expectation does not apply, by its name."""
    rows = by_name.get(HAS_ROWS)
    if rows is not None and not rows.passed and rows.error is None:
        applicable = {HAS_ROWS, HAS_COLUMNS, HAS_COLUMN_TYPES}
        return {s.name: NO_ROWS for s in specs if s.name not in applicable}
    measured_before = set() if previous is None else set(previous.partitions)
    later = {spec.statistic_of for spec in specs if spec.statistic_of is not None}
    notes: dict[str, str] = {}
    for name in later - measured_before:
        if by_name[measured_share_name(name)].observed == 0:
            notes |= {spec.name: NOT_MEASURED for spec in specs if spec.statistic_of == name}
    outcomes = by_name.get(BOTH_OUTCOMES)
    if outcomes is not None and outcomes.observed == 0:
        of_the_source = [s for s in specs if s.column == OUTCOME.name and s.of_the_source]
        notes |= {spec.name: NO_OUTCOMES for spec in of_the_source}
    for field in FEATURES:
        share_name = measured_share_name(field.name)
        share = by_name.get(share_name)
        if share is not None and share.observed == 0:
            note = f"No row has a value: see {share_name}."
            notes |= dict.fromkeys(_failed_statistics(specs, by_name, field), note) | notes
    return notes


def _failed_statistics(
    specs: Sequence[ExpectationSpec], by_name: Mapping[str, ExpectationOutcome], field: Field
) -> list[str]:
    """Return the names of the failed expectations about the field's columns, but its share."""
    columns = {field.name, filled_name(field), normed_name(field)}
    names = [spec.name for spec in specs if spec.column in columns]
    failed = (name for name in names if not by_name[name].passed)
    return [name for name in failed if name != measured_share_name(field.name)]


def not_evaluated(spec: ExpectationSpec, error: str) -> ExpectationOutcome:
    """Return the failed outcome of an expectation that could not be evaluated."""
    return ExpectationOutcome(spec.name, passed=False, severity=spec.severity, error=error)


def failed_report(error: str, *, run_name: str, validated_at: datetime) -> ValidationReport:
    """Return a report in which every expectation failed, because the validation failed."""
    outcomes = tuple(not_evaluated(spec, error) for spec in EXPECTATIONS)
    return ValidationReport(run_name, validated_at, outcomes)
