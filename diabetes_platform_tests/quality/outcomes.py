"""What a validation says of a staged batch."""

from diabetes_platform.quality.validation_report import ExpectationOutcome, ValidationReport


def failed(report: ValidationReport) -> set[str]:
    return {outcome.name for outcome in report.outcomes if not outcome.passed}


def outcome(report: ValidationReport, name: str) -> ExpectationOutcome:
    (found,) = (each for each in report.outcomes if each.name == name)
    return found
