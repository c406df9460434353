"""Reports of validations, without a database."""

from datetime import UTC, datetime, timedelta

from great_expectations.core import ExpectationSuiteValidationResult

from diabetes_platform.quality.data_docs import linked
from diabetes_platform.quality.validation_report import ExpectationOutcome, ValidationReport

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def report_of(run_name: str, hours: int = 0) -> ValidationReport:
    """Return a report with one passed check, an error and a warning."""
    outcomes = (
        ExpectationOutcome("has_rows", passed=True, severity="error", observed=768),
        ExpectationOutcome("no_missing_age", passed=False, severity="error", error="<b>gone</b>"),
        ExpectationOutcome("age_normed_centred", passed=False, severity="warning", observed=0.5),
    )
    return linked(ValidationReport(run_name, START + timedelta(hours=hours), outcomes))


def empty_result() -> ExpectationSuiteValidationResult:
    """Return a result of Great Expectations without expectations."""
    return ExpectationSuiteValidationResult(
        success=True, results=[], suite_name="staging_patients", meta={}
    )
