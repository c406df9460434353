"""Generated patients of the smoke job, and their expected verdicts. Pure functions."""

from collections import Counter

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.validation import ABOVE_MAXIMUM, Reason, reasons_to_reject

ACCEPTED = "accepted"
ONE_IN = 10
"""Every tenth patient has a measurement above its range; the field rotates."""


def patient(number: int) -> dict[str, object]:
    """Return the measurements of patient `number` (0, 1, …) in the contract's units."""
    row: dict[str, object] = {field.name: field.example for field in FEATURES}
    if number % ONE_IN == 0:
        invalid = FEATURES[number // ONE_IN % len(FEATURES)]
        row[invalid.name] = invalid.maximum + 1
    return row


def verdict(number: int) -> str:
    """Return the contract's reasons to reject patient `number`, joined, or `accepted`."""
    return ", ".join(map(str, reasons_to_reject(patient(number)))) or ACCEPTED


def expected_verdicts(rows: int) -> dict[str, int]:
    """Return the expected number of patients by verdict, computed without the row validator."""
    names = [str(Reason(field.name, ABOVE_MAXIMUM)) for field in FEATURES]
    rejected = Counter(names[number // ONE_IN % len(names)] for number in range(0, rows, ONE_IN))
    return {**rejected, ACCEPTED: rows - rejected.total()}
