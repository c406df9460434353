"""Patients and outcomes are validated by the contract's rules; errors name field and value."""

import json
import re
from collections.abc import Callable

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from diabetes_platform.contract.fields import FEATURES, Field
from diabetes_platform.contract.validation import (
    NOT_A_NUMBER,
    NUMBER_PATTERN,
    parse,
    reasons_to_reject,
)
from diabetes_platform_tests.contract.cases import AgreementRow, Row, agreement_rows
from serving.app.validation import (
    REQUIRED_OUTCOME,
    FieldError,
    OutcomeBody,
    Patient,
    echo,
    field_errors,
    outcome_of,
    validate_json,
)
from serving.tests.samples import ALIASED_PATIENT, PATIENT, REQUIRED_NAMES, patient

NOT_FINITE_TEXTS = {"NaN", "nan", "-NaN", "inf", "-inf", "+Infinity", " inf "}


def as_json(text: str | None) -> str:
    """Return a value as a caller of the API writes it: a number as a number, text as text.

    JSON has no leading zeros, plus signs or points without digits: such numbers are rewritten with
    the same value. NaN and the infinities are written as Python's json does.
    """
    if text is None:
        return "null"
    if text in NOT_FINITE_TEXTS:
        value = float(text)
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124
    stripped = text.strip(" ")
    if not re.fullmatch(NUMBER_PATTERN.removesuffix("$"), stripped):
        return json.dumps(text)
    beyond_a_double = abs(float(stripped)) == float("inf")
    return stripped if beyond_a_double else repr(float(stripped))


def contract_reasons(row: Row) -> set[tuple[str, str]]:
    """Return the contract's reasons for the values that the API receives."""
    received = {name: from_json(as_json(text)) for name, text in row.items()}
    texts = {name for name, value in received.items() if isinstance(value, str)}
    reasons = {
        (reason.field, reason.code) for reason in reasons_to_reject(received, fields=FEATURES)
    }
    # The one difference: for the API text is never a number, and empty text never "not measured".
    names = {field.name for field in FEATURES}
    of_numbers = {(name, code) for name, code in reasons if name not in texts}
    return of_numbers | {(name, NOT_A_NUMBER) for name in texts & names}


def body_of(row: Row) -> str:
    members = (f'"{field.name}": {as_json(row[field.name])}' for field in FEATURES)
    return "{" + ", ".join(members) + "}"


def reasons_of(validate: Callable[[], BaseModel]) -> list[tuple[str, str]]:
    """Return the errors of a validation as (field, code)."""
    try:
        validate()
    except ValidationError as error:
        return [(details["field"], details["code"]) for details in field_errors(error, FEATURES)]
    return []


def errors_of(body: str | bytes) -> list[FieldError]:
    """Return the errors of an invalid body."""
    with pytest.raises(ValidationError) as raised:
        Patient.model_validate_json(body)
    return field_errors(raised.value, FEATURES)


def patient_with(name: str, written: str) -> str:
    """Return the example patient as JSON in which the value of `name` is `written`."""
    return json.dumps({**PATIENT, name: "@"}).replace('"@"', written)


@pytest.mark.parametrize("case", agreement_rows(), ids=lambda case: case.name)
def test_agrees_with_the_contract(case: AgreementRow) -> None:
    body, expected = body_of(case.row), contract_reasons(case.row)
    assert set(reasons_of(lambda: Patient.model_validate_json(body))) == expected
    if not expected:
        received = {field.name: from_json(as_json(case.row[field.name])) for field in FEATURES}
        assert vars(Patient.model_validate_json(body)) == {
            field.name: parse(field, received[field.name]).value for field in FEATURES
        }


@pytest.mark.parametrize("case", agreement_rows(), ids=lambda case: case.name)
def test_validates_patients_of_a_batch_like_single_ones(case: AgreementRow) -> None:
    body = body_of(case.row)
    single = reasons_of(lambda: Patient.model_validate_json(body))
    assert reasons_of(lambda: Patient.model_validate(from_json(body))) == single


def test_agreement_rows_include_valid_and_invalid_ones() -> None:
    invalid = [bool(contract_reasons(case.row)) for case in agreement_rows()]
    assert 100 < sum(invalid) < len(invalid) - 50


@pytest.mark.parametrize("text", ["148", " 148 ", "1e2", ""])
def test_rejects_a_number_written_as_text(text: str) -> None:
    """`"148"` is a caller's mistake. The batch pipeline, whose sources are text, accepts it."""
    (error,) = errors_of(json.dumps(patient(glucose=text)))
    assert error == {
        "field": "glucose",
        "code": "not_a_number",
        "given": text,
        "allowed": "40 to 600 mg/dL",
    }


def test_aliases_mean_the_same() -> None:
    assert Patient.model_validate(ALIASED_PATIENT) == Patient.model_validate(PATIENT)


@pytest.mark.parametrize("field", FEATURES, ids=lambda field: field.name)
def test_an_absent_field_is_missing(field: Field) -> None:
    rest = {name: value for name, value in PATIENT.items() if name != field.name}
    if field.required:
        assert reasons_of(lambda: Patient.model_validate(rest)) == [(field.name, "missing")]
    else:
        assert vars(Patient.model_validate(rest))[field.name] is None


@pytest.mark.parametrize("field", FEATURES, ids=lambda field: field.name)
def test_schema_documents_bounds_unit_codes_and_example(field: Field) -> None:
    schema = Patient.model_json_schema()["properties"][field.name]
    number = schema if field.required else schema["anyOf"][0]
    alternatives = [] if field.required else schema["anyOf"][1:]
    assert (number["type"], number["minimum"], number["maximum"]) == (
        field.kind,
        field.minimum,
        field.maximum,
    )
    codes = [alternative["const"] for alternative in alternatives if "const" in alternative]
    assert codes == list(field.missing_codes)
    assert ({"type": "null"} in alternatives) is not field.required
    assert schema["x-unit"] == field.unit
    assert schema["examples"] == [field.example]
    assert field.alias in schema["description"]


def test_the_text_of_an_error_has_no_measurements() -> None:
    with pytest.raises(ValidationError) as raised:
        Patient.model_validate(patient(glucose=98765, bmi="43210"))
    assert "98765" not in str(raised.value)
    assert "43210" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "written", "code", "shown"),
    [
        ("age", "-7", "below_minimum", -7),
        ("age", "null", "missing", None),
        ("bmi", "700", "above_maximum", 700),
        ("bmi", "NaN", "not_finite", "nan"),
        ("bmi", "-Infinity", "not_finite", "-inf"),
        ("bmi", "1e308", "above_maximum", 1e308),
        ("bmi", "1e999", "not_finite", "inf"),
        ("bmi", "true", "not_a_number", True),
        ("bmi", "[33]", "not_a_number", "a list"),
        ("bmi", "{}", "not_a_number", "an object"),
        ("bmi", json.dumps("x" * 5000), "not_a_number", "x" * 100 + "…"),
        ("bmi", "9" * 400, "not_finite", "a number beyond 64 bits"),
        ("pregnancies", "3.7", "not_an_integer", 3.7),
        ("pregnancies", "6.0000000001", "not_an_integer", 6.0000000001),
    ],
)
def test_an_error_names_field_code_and_value(
    name: str, written: str, code: str, shown: object
) -> None:
    (error,) = errors_of(patient_with(name, written))
    assert (error["field"], error["code"], error["given"]) == (name, code, shown)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b'{"age":' * 100_000, "not_json"),
        (b"null", "not_an_object"),
        (b"[]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"3", "not_an_object"),
    ],
)
def test_rejects_a_body_that_is_not_an_object(body: bytes, code: str) -> None:
    (error,) = errors_of(body)
    assert (error["field"], error["code"], error["allowed"]) == ("body", code, "a JSON object")


def test_reports_all_errors_in_field_order() -> None:
    errors = errors_of(json.dumps({"Glucose": 1e6, "age": 7, "extra": 1}))
    codes = {"glucose": "above_maximum", "age": "below_minimum"}
    assert [(error["field"], error["code"]) for error in errors] == [
        *(
            (field.name, codes.get(field.name, "missing"))
            for field in FEATURES
            if field.name in {"glucose", *REQUIRED_NAMES}
        ),
        ("extra", "unknown_field"),
    ]


def test_rejects_a_field_under_both_its_names() -> None:
    (error,) = errors_of(json.dumps(patient(Age=50)))
    assert (error["code"], error["allowed"]) == ("given_twice", "either age or Age")


def test_rejects_an_outcome_among_the_measurements() -> None:
    (error,) = errors_of(json.dumps(patient(Outcome=1)))
    assert (error["field"], error["code"]) == ("Outcome", "unknown_field")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(7, 7), (None, None), ("high", "high"), (10**30, "a number beyond 64 bits"), (False, False)],
)
def test_echo_returns_short_values_unchanged(value: object, shown: object) -> None:
    assert echo(value) == shown


@pytest.mark.parametrize(
    ("body", "outcome"), [(b'{"outcome": 1}', 1), (b'{"outcome": 0}', 0), (b'{"outcome": 1.0}', 1)]
)
def test_reads_both_outcomes(body: bytes, outcome: int) -> None:
    assert validate_json(OutcomeBody, body) == {"outcome": outcome}


@pytest.mark.parametrize(
    ("body", "reasons"),
    [
        (b"{", ["body:not_json"]),
        (b"[1]", ["body:not_an_object"]),
        (b"{}", ["outcome:missing"]),
        (b'{"outcome": null}', ["outcome:missing"]),
        (b'{"outcome": 2}', ["outcome:not_allowed"]),
        (b'{"outcome": 0.5}', ["outcome:not_an_integer"]),
        (b'{"outcome": NaN}', ["outcome:not_finite"]),
        (b'{"outcome": "1"}', ["outcome:not_a_number"]),
        (b'{"outcome": true}', ["outcome:not_a_number"]),
        (b'{"outcome": 1, "age": 3}', ["age:unknown_field"]),
        (b'{"outcome": 7, "age": 3}', ["outcome:not_allowed", "age:unknown_field"]),
        (b'{"outcome": 1, "Outcome": 1}', ["outcome:given_twice"]),
    ],
)
def test_rejects_other_outcomes_with_all_errors(body: bytes, reasons: list[str]) -> None:
    with pytest.raises(ValidationError) as raised:
        validate_json(OutcomeBody, body)
    errors = field_errors(raised.value, [REQUIRED_OUTCOME])
    assert [f"{error['field']}:{error['code']}" for error in errors] == reasons


def test_errors_of_an_outcome_name_what_is_allowed() -> None:
    with pytest.raises(ValidationError) as raised:
        validate_json(OutcomeBody, b'{"outcome": 2, "age": 3}')
    errors = field_errors(raised.value, [REQUIRED_OUTCOME])
    assert [error["allowed"] for error in errors] == ["0 or 1", "outcome"]


def test_a_missing_outcome_is_never_a_zero() -> None:
    assert [outcome_of(0.0), outcome_of(1.0)] == [0, 1]
    with pytest.raises(ValueError, match="the outcome is missing"):
        outcome_of(None)
