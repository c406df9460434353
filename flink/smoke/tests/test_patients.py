from collections import Counter

import pytest

from diabetes_platform.contract.fields import FEATURES
from flink.smoke.patients import ACCEPTED, ONE_IN, expected_verdicts, patient, verdict

EVERY_FIELD_TWICE = 2 * ONE_IN * len(FEATURES)


def test_one_patient_in_ten_has_one_measurement_above_its_range() -> None:
    assert verdict(0) == f"{FEATURES[0].name}:above_maximum"
    assert verdict(1) == ACCEPTED
    assert verdict(ONE_IN) == f"{FEATURES[1].name}:above_maximum"
    assert patient(ONE_IN)[FEATURES[1].name] == FEATURES[1].maximum + 1


def test_each_field_has_its_turn() -> None:
    verdicts = {verdict(number) for number in range(EVERY_FIELD_TWICE)}
    assert verdicts == {ACCEPTED, *(f"{field.name}:above_maximum" for field in FEATURES)}


@pytest.mark.parametrize("rows", [1, ONE_IN, ONE_IN + 1, EVERY_FIELD_TWICE])
def test_the_row_validator_gives_the_expected_verdicts(rows: int) -> None:
    assert Counter(verdict(number) for number in range(rows)) == +Counter(expected_verdicts(rows))
