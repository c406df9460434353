"""The request model agrees with the contract's validator, value for value."""

import json
import re

import pytest
from pydantic import ValidationError
from pydantic_core import from_json

from diabetes_platform.contract.fields import FEATURES, Field
from diabetes_platform.contract.validation import (
    NOT_A_NUMBER,
    NUMBER_PATTERN,
    parse,
    reasons_to_reject,
)
from diabetes_platform_tests.contract.cases import AgreementRow, Row, agreement_rows
from serving.app.validation import EXAMPLE_PATIENT, Patient, field_errors

NOT_FINITE_JSON = {"NaN", "nan", "-NaN", "inf", "-inf", "+Infinity", " inf "}


def as_json(text: str | None) -> str:
    """Write a value as a caller of the API does: a number as a number, text as text.

    JSON has no leading zeros, plus signs or points without digits: such numbers are re-written
    with the same value. Not-a-number and the infinities are written as Python's json does.
    """
    if text is None:
        return "null"
    if text in NOT_FINITE_JSON:
        value = float(text)
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124
    stripped = text.strip(" ")
    if not re.fullmatch(NUMBER_PATTERN.removesuffix("$"), stripped):
        return json.dumps(text)
    beyond_a_double = abs(float(stripped)) == float("inf")
    return stripped if beyond_a_double else repr(float(stripped))


def expected_reasons(row: Row) -> set[tuple[str, str]]:
    """Return the contract's reasons on what the API received."""
    received = {name: from_json(as_json(text)) for name, text in row.items()}
    text = {name for name, value in received.items() if isinstance(value, str)}
    by_contract = {
        (reason.field, reason.code) for reason in reasons_to_reject(received, fields=FEATURES)
    }
    # The one difference: text is never a number here, nor an empty one "not measured".
    names = {field.name for field in FEATURES}
    kept = {(name, code) for name, code in by_contract if name not in text}
    return kept | {(name, NOT_A_NUMBER) for name in text & names}


def body_of(row: Row) -> str:
    features = [field.name for field in FEATURES]
    return "{" + ", ".join(f'"{name}": {as_json(row[name])}' for name in features) + "}"


@pytest.mark.parametrize("case", agreement_rows(), ids=lambda case: case.name)
def test_the_verdict_is_the_contracts(case: AgreementRow) -> None:
    given: set[tuple[str, str]] = set()
    try:
        patient = Patient.model_validate_json(body_of(case.row))
    except ValidationError as error:
        given = {(one["field"], one["code"]) for one in field_errors(error)}
    else:
        received = {field.name: from_json(as_json(case.row[field.name])) for field in FEATURES}
        assert vars(patient) == {
            field.name: parse(field, received[field.name]).value for field in FEATURES
        }
    assert given == expected_reasons(case.row)


@pytest.mark.parametrize("case", agreement_rows(), ids=lambda case: case.name)
def test_a_patient_in_a_batch_is_judged_like_a_single_one(case: AgreementRow) -> None:
    body = body_of(case.row)
    assert _codes(lambda: Patient.model_validate_json(body)) == _codes(
        lambda: Patient.model_validate(from_json(body))
    )


def _codes(judge: object) -> list[tuple[str, str]]:
    assert callable(judge)
    try:
        judge()
    except ValidationError as error:
        return [(one["field"], one["code"]) for one in field_errors(error)]
    return []


def test_agreement_rows_reach_both_verdicts() -> None:
    verdicts = [bool(expected_reasons(case.row)) for case in agreement_rows()]
    assert 100 < sum(verdicts) < len(verdicts) - 50


@pytest.mark.parametrize("text", ["148", " 148 ", "1e2", ""])
def test_a_number_written_as_text_is_refused(text: str) -> None:
    """`"148"` is a caller's mistake; the batch side, whose sources are text, reads it."""
    with pytest.raises(ValidationError) as refused:
        Patient.model_validate_json(json.dumps({**EXAMPLE_PATIENT, "glucose": text}))
    (error,) = field_errors(refused.value)
    assert error == {
        "field": "glucose",
        "code": "not_a_number",
        "given": text,
        "allowed": "40 to 600 mg/dL",
    }


def test_flat_aliases_mean_the_same() -> None:
    aliased = {field.alias: field.example for field in FEATURES}
    assert Patient.model_validate(aliased) == Patient.model_validate(EXAMPLE_PATIENT)


@pytest.mark.parametrize("field", FEATURES, ids=lambda field: field.name)
def test_a_field_left_out_is_missing(field: Field) -> None:
    rest = {name: value for name, value in EXAMPLE_PATIENT.items() if name != field.name}
    if field.required:
        with pytest.raises(ValidationError) as refused:
            Patient.model_validate(rest)
        assert [one["code"] for one in field_errors(refused.value)] == ["missing"]
    else:
        assert vars(Patient.model_validate(rest))[field.name] is None


@pytest.mark.parametrize("field", FEATURES, ids=lambda field: field.name)
def test_the_schema_shows_bounds_unit_codes_and_example(field: Field) -> None:
    schema = Patient.model_json_schema()["properties"][field.name]
    number = schema if field.required else schema["anyOf"][0]
    others = [] if field.required else schema["anyOf"][1:]
    assert (number["type"], number["minimum"], number["maximum"]) == (
        field.kind,
        field.minimum,
        field.maximum,
    )
    assert [one["const"] for one in others if "const" in one] == list(field.missing_codes)
    assert ({"type": "null"} in others) is not field.required
    assert schema["x-unit"] == field.unit
    assert schema["examples"] == [field.example]
    assert field.alias in schema["description"]


def test_an_error_that_reaches_a_log_holds_no_measurement() -> None:
    with pytest.raises(ValidationError) as refused:
        Patient.model_validate({**EXAMPLE_PATIENT, "glucose": 98765, "bmi": "43210"})
    assert "98765" not in str(refused.value)
    assert "43210" not in str(refused.value)
