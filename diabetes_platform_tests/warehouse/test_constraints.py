"""PostgreSQL's constraints give the contract's verdict on every row that its types can hold."""

import psycopg
import pytest
from psycopg import sql

from diabetes_platform.contract.fields import FIELDS, FIELDS_BY_NAME
from diabetes_platform.contract.tables import DIABETES_NEW
from diabetes_platform.contract.validation import NOT_AN_INTEGER, parse, reasons_to_reject
from diabetes_platform_tests.contract.cases import AgreementRow, agreement_rows
from diabetes_platform_tests.warehouse.rendered_ddl import field_checks

pytestmark = pytest.mark.integration


def typed(case: AgreementRow) -> dict[str, float | None] | None:
    """The row as numbers, or None where a value has no place in its column's type."""
    parsed = {name: parse(FIELDS_BY_NAME[name], text) for name, text in case.row.items()}
    codes = {reason.code for reason in reasons_to_reject(case.row)}
    if any(value.code for value in parsed.values()) or NOT_AN_INTEGER in codes:
        return None
    return {name: value.value for name, value in parsed.items()}


def test_the_intake_table_accepts_exactly_what_the_contract_accepts(warehouse: str) -> None:
    rows = [(case, typed(case)) for case in agreement_rows()]
    typable = [(case, row) for case, row in rows if row is not None]
    disagreements = []
    with psycopg.connect(warehouse) as connection:
        for case, row in typable:
            accepted = inserts(connection, row)
            if accepted != (not reasons_to_reject(case.row)):
                disagreements.append(case.name)
    assert disagreements == []
    assert len(typable) > 10 * len(FIELDS)


def inserts(connection: psycopg.Connection, row: dict[str, float | None]) -> bool:
    names = [name for name in row if name in DIABETES_NEW.column_names]
    values = [row[name] for name in names]
    recorded = sql.SQL(", outcome_recorded_at"), sql.SQL(", now()")
    extra = recorded if row.get("outcome") is not None else (sql.SQL(""), sql.SQL(""))
    insert = sql.SQL("INSERT INTO public.diabetes_new ({}{}) VALUES ({}{})").format(
        sql.SQL(", ").join(map(sql.Identifier, names)),
        extra[0],
        sql.SQL(", ").join([sql.Placeholder()] * len(names)),
        extra[1],
    )
    try:
        with connection.transaction():
            connection.execute(insert, values)
    except (psycopg.IntegrityError, psycopg.errors.NumericValueOutOfRange):
        return False
    return True


def test_a_constraint_is_named_after_its_field() -> None:
    checks = [check.as_string() for check in field_checks()]
    assert checks[1] == 'CONSTRAINT "glucose_allowed" CHECK ("glucose" BETWEEN 40 AND 600)'
    assert checks[-1] == 'CONSTRAINT "outcome_allowed" CHECK ("outcome" IN (0, 1))'
