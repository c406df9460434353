"""The row validator: all reasons, in field order, for every kind of value."""

import pytest

from diabetes_platform.contract.fields import FIELDS_BY_NAME, OUTCOME
from diabetes_platform.contract.validation import Parsed, parse, reason_for, reasons_to_reject
from diabetes_platform_tests.contract.cases import ORDINARY, agreement_rows

AGE, BMI, GLUCOSE = (FIELDS_BY_NAME[name] for name in ("age", "bmi", "glucose"))
PREGNANCIES = FIELDS_BY_NAME["pregnancies"]


@pytest.mark.parametrize(
    ("received", "parsed"),
    [
        ("148", Parsed(148.0)),
        (" 148.50 ", Parsed(148.5)),
        ("+1.48E2", Parsed(148.0)),
        (148, Parsed(148.0)),
        (None, Parsed(None)),
        ("", Parsed(None)),
        ("0", Parsed(None)),
        (-0.0, Parsed(None)),
        ("NaN", Parsed(None)),
        (" n/a ", Parsed(None)),
        ("NULL", Parsed(None)),
        (r"\N", Parsed(None)),
        ("NA7", Parsed(None, "not_a_number")),
        ("-9", Parsed(-9.0)),
        (float("nan"), Parsed(None, "not_finite")),
        ("-inf", Parsed(None, "not_finite")),
        ("1e999", Parsed(None, "not_finite")),
        (float("inf"), Parsed(None, "not_finite")),
        (10**400, Parsed(None, "not_finite")),
        ("high", Parsed(None, "not_a_number")),
        ("1d", Parsed(None, "not_a_number")),
        ("1_000", Parsed(None, "not_a_number")),
        ("148\n", Parsed(None, "not_a_number")),
        (True, Parsed(None, "not_a_number")),
        ([148], Parsed(None, "not_a_number")),
    ],
)
def test_parses_a_value_as_a_number_or_with_a_code(received: object, parsed: Parsed) -> None:
    assert parse(GLUCOSE, received) == parsed


def test_a_source_has_its_own_texts_for_missing() -> None:
    assert parse(GLUCOSE, " -9 ", {"-9", "fehlt"}) == Parsed(None)
    assert parse(GLUCOSE, "Fehlt", {"-9", "fehlt"}) == Parsed(None)
    for received in ("-9.0", "-9.00e0", -9, -9.0):
        assert parse(GLUCOSE, received, {"-9", "fehlt"}) == Parsed(None)
    assert parse(GLUCOSE, "-9", {"-9.0"}) == Parsed(None)
    assert parse(GLUCOSE, "-9.5", {"-9"}) == Parsed(-9.5)
    assert parse(GLUCOSE, "NA", {"-9", "fehlt"}) == Parsed(None, "not_a_number")


@pytest.mark.parametrize(
    ("field", "received", "expected"),
    [
        (GLUCOSE, "40", None),
        (GLUCOSE, "39.9", "glucose:below_minimum"),
        (GLUCOSE, "600", None),
        (GLUCOSE, "1e308", "glucose:above_maximum"),
        (GLUCOSE, "0", None),
        (AGE, "", "age:missing"),
        (AGE, "0", "age:below_minimum"),
        (AGE, "-8", "age:below_minimum"),
        (BMI, "700", "bmi:above_maximum"),
        (PREGNANCIES, "1.5", "pregnancies:not_an_integer"),
        (PREGNANCIES, "1.0", None),
        (OUTCOME, "", None),
        (OUTCOME, "2", "outcome:not_allowed"),
        (OUTCOME, "0.5", "outcome:not_an_integer"),
    ],
)  # fmt: skip
def test_a_value_rejects_its_row_for_one_reason(
    field: object, received: str, expected: str | None
) -> None:
    reason = reason_for(field, received)  # type: ignore[arg-type]
    assert (None if reason is None else str(reason)) == expected


def test_returns_all_reasons_in_the_order_of_the_fields() -> None:
    row = ORDINARY | {"age": None, "glucose": "high", "bmi": "700"}
    assert [str(reason) for reason in reasons_to_reject(row)] == [
        "glucose:not_a_number",
        "bmi:above_maximum",
        "age:missing",
    ]


def test_a_field_that_is_absent_is_missing() -> None:
    assert [str(reason) for reason in reasons_to_reject({})] == [
        "pregnancies:missing",
        "diabetes_pedigree_function:missing",
        "age:missing",
    ]


def test_a_reason_explains_itself_to_the_sender() -> None:
    (reason,) = reasons_to_reject(ORDINARY | {"bmi": "700"})
    assert reason.explain("700") == "bmi is '700' (above maximum); allowed: 10 to 100 kg/m²"


def test_the_rows_that_engines_must_agree_on_cover_both_verdicts() -> None:
    verdicts = [bool(reasons_to_reject(case.row)) for case in agreement_rows()]
    assert verdicts.count(True) > 100
    assert verdicts.count(False) > 100
