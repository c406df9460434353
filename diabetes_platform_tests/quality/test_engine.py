"""Agreement: the expectations on rows give the contract's verdict on every row that is tried."""

import psycopg
import pytest
from sqlalchemy.engine import make_url

from diabetes_platform.contract.fields import FIELD_NAMES, FIELDS, FIELDS_BY_NAME
from diabetes_platform.contract.validation import parse, reason_for, reasons_to_reject
from diabetes_platform.quality.engine import outcomes_by_name, run_suite
from diabetes_platform.quality.expectations import EXPECTATIONS
from diabetes_platform_tests.contract.cases import AgreementRow, agreement_rows
from diabetes_platform_tests.quality.staged_batches import Patient, create_table, load
from diabetes_platform_tests.staged_patients import staged_patient

ROW_RULES = (
    "expect_column_values_to_not_be_null",
    "expect_column_values_to_be_between",
    "expect_column_values_to_be_in_set",
    "expect_column_values_to_be_whole_numbers",
)
RULES = {
    spec.name: spec
    for spec in EXPECTATIONS
    if spec.type in ROW_RULES and spec.column in FIELD_NAMES
}
WIDE = {"text": "text", "integer": "double precision", "number": "double precision"}
"""Integers as doubles: 3.7 pregnancies can then be staged, and must be violations."""


def typed_rows() -> list[AgreementRow]:
    """The rows whose values are numbers or missing; no other can stand in a typed table."""
    return [
        case
        for case in agreement_rows()
        if all(parse(field, case.row[field.name]).code is None for field in FIELDS)
    ]


def patient(line: int, case: AgreementRow) -> Patient:
    values = {field.name: parse(field, case.row[field.name]).value for field in FIELDS}
    return staged_patient("a" * 12, line) | values


def test_cleaning_rejects_rows_without_numbers_before_staging() -> None:
    untyped = {case.name for case in agreement_rows()} - {case.name for case in typed_rows()}
    rows = {case.name: case.row for case in agreement_rows()}
    assert untyped
    assert all(reasons_to_reject(rows[name]) for name in untyped)


@pytest.mark.integration
def test_great_expectations_and_the_contract_agree_on_every_row(database_url: str) -> None:
    cases = typed_rows()
    with psycopg.connect(database_url) as connection:
        create_table(connection, "staging", "patients", WIDE)
        patients = [patient(line, case) for line, case in enumerate(cases)]
        load(connection, "staging", "patients", patients)
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    bound = [(spec, spec.kwargs) for spec in RULES.values()]
    result = run_suite(url, "staging", "patients", bound, sample_size=len(cases))
    outcomes = outcomes_by_name(RULES, result)

    names = {str(row["record_id"]): case.name for row, case in zip(patients, cases, strict=True)}
    violations = {
        (names[record_id], RULES[name].column)
        for name, outcome in outcomes.items()
        for record_id in outcome.record_ids
    }
    expected = {
        (case.name, field)
        for case in cases
        for field in FIELD_NAMES
        if reason_for(FIELDS_BY_NAME[field], case.row[field]) is not None
    }
    assert violations == expected
    assert [outcome.error for outcome in outcomes.values()] == [None] * len(RULES)
    assert len(cases) > 150
