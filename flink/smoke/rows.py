"""What the smoke job checks: patients made from a number, and what must be found about each.

Pure functions, which run on the cluster and in the tests alike.
"""

from collections import Counter

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.validation import ABOVE_MAXIMUM, Reason, reasons_to_reject

ACCEPTED = "accepted"
ONE_IN = 10
"""How often a patient has a measurement above its range; each field has its turn."""


def patient(number: int) -> dict[str, object]:
    """Return the measurements of patient `number` (0, 1, …) in the contract's units."""
    row: dict[str, object] = {field.name: field.example for field in FEATURES}
    if number % ONE_IN == 0:
        wrong = FEATURES[number // ONE_IN % len(FEATURES)]
        row[wrong.name] = wrong.maximum + 1
    return row


def verdict(number: int) -> str:
    """Return why the contract rejects patient `number`, all reasons joined, or `accepted`."""
    return ", ".join(map(str, reasons_to_reject(patient(number)))) or ACCEPTED


def expected_verdicts(rows: int) -> dict[str, int]:
    """Return how many of the first `rows` patients must get each verdict, without the contract."""
    names = [str(Reason(field.name, ABOVE_MAXIMUM)) for field in FEATURES]
    wrong = Counter(names[number // ONE_IN % len(names)] for number in range(0, rows, ONE_IN))
    return {**wrong, ACCEPTED: rows - wrong.total()}
