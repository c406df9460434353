"""The contract's own verdict is the job's, for every field and at every bound."""

import math

import pytest

from diabetes_platform.contract.fields import FIELDS, Field
from diabetes_platform.contract.validation import parse, reason_for
from flink.patients.measurements import read_measurements
from flink.patients.tests.messages import image


def given(field: Field) -> list[object]:
    bounds = (field.minimum, field.maximum)
    around = [each + step for each in bounds for step in (-1, -0.5, 0, 0.5, 1)]
    return [*around, *map(float, bounds), *field.missing_codes, 0, 0.0, True, math.nan, 1e308]


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_number_gets_the_contracts_verdict_and_value(field: Field) -> None:
    for value in given(field):
        values, reasons = read_measurements(image(**{field.name: value}))
        expected = reason_for(field, value)
        assert reasons == ([] if expected is None else [str(expected)]), value
        if expected is None:
            assert values[field.name] == parse(field, value).value


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_null_is_what_the_contract_says_of_it(field: Field) -> None:
    values, reasons = read_measurements(image(**{field.name: None}))
    assert reasons == ([f"{field.name}:missing"] if field.required else [])
    assert values[field.name] is None
