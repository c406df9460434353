"""Access to the outcomes of a validation report."""

from diabetes_platform.quality.validation_report import ExpectationOutcome, ValidationReport


def failed(report: ValidationReport) -> set[str]:
    return {outcome.name for outcome in report.outcomes if not outcome.passed}


def outcome(report: ValidationReport, name: str) -> ExpectationOutcome:
    (result,) = (result for result in report.outcomes if result.name == name)
    return result
