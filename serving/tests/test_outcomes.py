"""What is read as a confirmed outcome."""

import pytest

from serving.app.validation import parse_outcome, read_outcome


@pytest.mark.parametrize(
    ("body", "outcome"), [(b'{"outcome": 1}', 1), (b'{"outcome": 0}', 0), (b'{"outcome": 1.0}', 1)]
)
def test_the_two_outcomes(body: bytes, outcome: int) -> None:
    assert read_outcome(body) == outcome


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
        (b'{"outcome": 7, "age": 3}', ["age:unknown_field", "outcome:not_allowed"]),
    ],
)
def test_all_else_is_refused_with_its_reasons(body: bytes, reasons: list[str]) -> None:
    errors = read_outcome(body)
    assert isinstance(errors, list)
    assert [f"{error['field']}:{error['code']}" for error in errors] == reasons


def test_a_form_says_it_in_text() -> None:
    assert parse_outcome("1") == 1
    assert isinstance(parse_outcome(""), list)
    assert isinstance(parse_outcome("yes"), list)
