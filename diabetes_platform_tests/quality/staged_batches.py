"""Rows of `staging.patients` made from the Pima file, and a table to load and change them in."""

from collections.abc import Iterable, Mapping
from statistics import median_low, quantiles

import psycopg
from psycopg import sql

from diabetes_platform.contract.fields import FEATURES, FIELDS
from diabetes_platform.contract.tables import STAGING_PATIENTS, filled_name, normed_name
from diabetes_platform.contract.validation import parse
from diabetes_platform_tests.samples import pima_rows

Patient = dict[str, object]

BATCH = "5f0e1d2c3b4a"
TYPES = {"text": "text", "integer": "integer", "number": "double precision"}


def pima_patients() -> list[Patient]:
    """The 768 patients, codes for missing as None, filled and scaled by their own statistics."""
    measured = [
        {field.name: parse(field, row[field.name]).value for field in FIELDS} for row in pima_rows()
    ]
    patients: list[Patient] = [
        {**row, "record_id": f"{BATCH}-{line}", "source": "pima.csv", "batch_id": BATCH}
        for line, row in enumerate(measured, start=2)
    ]
    for field in FEATURES:
        present = [value for row in measured if (value := row[field.name]) is not None]
        if not present:  # a field that the file lacks
            empty = {normed_name(field): None, filled_name(field): None}
            patients = [patient | empty for patient in patients]
            continue
        median, (q1, _, q3) = median_low(present), quantiles(present)
        for patient, row in zip(patients, measured, strict=True):
            measurement = row[field.name]
            filled = median if measurement is None else measurement
            patient[filled_name(field)] = filled
            patient[normed_name(field)] = (filled - median) / (q3 - q1)
    return patients


def create_table(
    connection: psycopg.Connection, schema: str, name: str, types: Mapping[str, str] = TYPES
) -> None:
    """Create the contract's table without constraints, so that every fault can be staged."""
    columns = [
        sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(types[column.type]))
        for column in STAGING_PATIENTS.columns
    ]
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    connection.execute(
        sql.SQL("CREATE TABLE {} ({})").format(
            sql.Identifier(schema, name), sql.SQL(", ").join(columns)
        )
    )


def load(
    connection: psycopg.Connection, schema: str, name: str, patients: Iterable[Patient]
) -> None:
    """COPY `patients` into a table that `create_table` made."""
    types = {column.name: column.type for column in STAGING_PATIENTS.columns}
    copy = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(schema, name))
    integer_columns = connection.execute(
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = %s AND data_type = 'integer'",
        (schema, name),
    ).fetchall()
    integers = {row[0] for row in integer_columns}
    with connection.cursor() as cursor, cursor.copy(copy) as rows:
        for patient in patients:
            rows.write_row([_written(patient[name], name in integers) for name in types])


def execute(url: str, *statements: sql.SQL) -> None:
    """Change what is staged."""
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement)


def _written(value: object, integer: bool) -> object:
    return int(value) if integer and isinstance(value, float) else value
