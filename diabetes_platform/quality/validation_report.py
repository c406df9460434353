"""Validation results: one outcome per expectation, without patient values.

It does not import Great Expectations, so that Dagster's code location can import it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

from diabetes_platform.quality.expectations import ExpectationSpec, Severity

Observed = int | float | str | None

NOTHING_TO_COMPARE = "No promoted version to compare with."


@dataclass(frozen=True, slots=True)
class ExpectationOutcome:
    """The verdict on one expectation.

    `observed` is a count, a share or a statistic of the whole batch. `unexpected_count` of
    `element_count` rows break it, `record_ids` names at most 20 of them. `note` says why nothing
    was measured, `error` why it could not be. `docs_link` is relative to the Data Docs directory.
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
    docs_link: str | None = None

    @property
    def blocks(self) -> bool:
        """Whether this outcome must stop the batch."""
        return not self.passed and self.severity == "error"


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """One validation of the staging table: an outcome for every expectation, in their order.

    `docs_error` says why there is no page in the Data Docs; the outcomes hold all the same.
    """

    run_name: str
    validated_at: datetime
    outcomes: tuple[ExpectationOutcome, ...]
    docs_link: str | None = None
    docs_error: str | None = None
    seconds: float = field(default=0.0, compare=False)

    @property
    def passed(self) -> bool:
        """Whether the batch may be promoted: no failed expectation of severity `error`."""
        return not any(outcome.blocks for outcome in self.outcomes)


def first_line(text: str, password: str | None = None) -> str:
    """Return the first line of an error, without `password` as typed or as written in a URL.

    The lines after it may quote a row (`DETAIL: …`), a statement or a traceback.
    """
    line = text.strip().partition("\n")[0].strip()
    for secret in (password, quote(password, safe="")) if password else ():
        line = line.replace(secret, "***")
    return line


def nothing_to_compare(spec: ExpectationSpec) -> ExpectationOutcome:
    """Return the outcome of a comparison where there is no promoted version yet."""
    return ExpectationOutcome(
        spec.name, passed=True, severity=spec.severity, note=NOTHING_TO_COMPARE
    )


def not_evaluated(spec: ExpectationSpec, error: str) -> ExpectationOutcome:
    """Return the outcome of an expectation that could not be evaluated: failed."""
    return ExpectationOutcome(spec.name, passed=False, severity=spec.severity, error=error)


def failed_report(
    specs: Iterable[ExpectationSpec], error: str, *, run_name: str, validated_at: datetime
) -> ValidationReport:
    """Return a report in which every expectation failed because the validation itself did."""
    outcomes = tuple(not_evaluated(spec, error) for spec in specs)
    return ValidationReport(run_name, validated_at, outcomes)
