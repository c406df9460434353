"""Generated patients of the smoke job, and their verdicts. Pure functions."""

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.validation import reasons_to_reject

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
