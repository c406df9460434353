"""What a refusal tells: field, code, given, allowed."""

import json

import pytest
from pydantic import ValidationError

from serving.app.validation import EXAMPLE_PATIENT, FieldError, Patient, echo, field_errors


def errors_of(body: str | bytes) -> list[FieldError]:
    with pytest.raises(ValidationError) as refused:
        Patient.model_validate_json(body)
    return field_errors(refused.value)


def with_value(name: str, written: str) -> str:
    return json.dumps({**EXAMPLE_PATIENT, name: "@"}).replace('"@"', written)


@pytest.mark.parametrize(
    ("name", "written", "code", "given"),
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
        ("pregnancies", "3.7", "not_an_integer", 3.7),
        ("pregnancies", "6.0000000001", "not_an_integer", 6.0000000001),
    ],
)
def test_a_bad_value_is_named_with_what_was_given(
    name: str, written: str, code: str, given: object
) -> None:
    (error,) = errors_of(with_value(name, written))
    assert (error["field"], error["code"], error["given"]) == (name, code, given)


def test_a_number_of_400_digits_is_not_finite() -> None:
    (error,) = errors_of(with_value("bmi", "9" * 400))
    assert (error["code"], error["given"]) == (
        "not_finite",
        "a number beyond 64 bits",
    )


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
def test_a_body_that_is_no_object_is_refused_as_a_whole(body: bytes, code: str) -> None:
    (error,) = errors_of(body)
    assert (error["field"], error["code"], error["allowed"]) == ("body", code, "a JSON object")


def test_all_reasons_are_told_at_once() -> None:
    errors = errors_of(json.dumps({"Glucose": 1e6, "age": 7, "extra": 1}))
    assert [(error["field"], error["code"]) for error in errors] == [
        ("pregnancies", "missing"),
        ("glucose", "above_maximum"),
        ("diabetes_pedigree_function", "missing"),
        ("age", "below_minimum"),
        ("extra", "unknown_field"),
    ]


def test_a_field_under_both_its_names_is_refused() -> None:
    (error,) = errors_of(json.dumps({**EXAMPLE_PATIENT, "Age": 50}))
    assert (error["code"], error["allowed"]) == ("given_twice", "either age or Age")


def test_the_outcome_is_no_measurement() -> None:
    (error,) = errors_of(json.dumps({**EXAMPLE_PATIENT, "Outcome": 1}))
    assert (error["field"], error["code"]) == ("Outcome", "unknown_field")


@pytest.mark.parametrize(
    ("given", "shown"),
    [(7, 7), (None, None), ("high", "high"), (10**30, "a number beyond 64 bits"), (False, False)],
)
def test_echo_shows_short_values_as_they_are(given: object, shown: object) -> None:
    assert echo(given) == shown
