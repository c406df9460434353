"""Contract tables rendered as PostgreSQL columns and CHECK constraints.

The tables themselves are created by the migrations' frozen SQL, which is compared with this
rendering.
"""

from psycopg import sql

from diabetes_platform.contract.fields import FIELDS, Field
from diabetes_platform.contract.tables import Column, ColumnType, Table

_TYPES: dict[ColumnType, sql.SQL] = {
    "text": sql.SQL("text"),
    "integer": sql.SQL("integer"),
    "bigint": sql.SQL("bigint"),
    "number": sql.SQL("double precision"),
    "timestamp": sql.SQL("timestamp with time zone"),
    "text[]": sql.SQL("text[]"),
    "json": sql.SQL("jsonb"),
}


def type_name(column: Column) -> str:
    """Return the column's type as PostgreSQL's `format_type` writes it."""
    return _TYPES[column.type].as_string()


def column_names(table: Table) -> sql.Composed:
    """Return the quoted, comma-separated names of the columns of `table`."""
    return sql.SQL(", ").join(sql.Identifier(name) for name in table.column_names)


def columns(table: Table, *, not_null: bool) -> sql.Composed:
    """Return the column list of a CREATE TABLE; `not_null` renders the contract's nullability."""
    return sql.SQL(", ").join(_column(column, not_null=not_null) for column in table.columns)


def field_checks(fields: tuple[Field, ...] = FIELDS) -> list[sql.Composed]:
    """Return one named CHECK constraint for the allowed values of each field."""
    return [_field_check(field) for field in fields]


def _column(column: Column, *, not_null: bool) -> sql.Composed:
    name, kind = sql.Identifier(column.name), _TYPES[column.type]
    suffix = sql.SQL(" NOT NULL" if not_null and not column.nullable else "")
    return sql.SQL("{} {}{}").format(name, kind, suffix)


def _field_check(field: Field) -> sql.Composed:
    name = sql.Identifier(f"{field.name}_allowed")
    column = sql.Identifier(field.name)
    if field.allowed is not None:
        values = sql.SQL(", ").join(sql.Literal(value) for value in field.allowed)
        rule = sql.SQL("{} IN ({})").format(column, values)
    else:
        # NaN sorts above every number in PostgreSQL, so BETWEEN rejects it.
        bounds = sql.Literal(field.minimum), sql.Literal(field.maximum)
        rule = sql.SQL("{} BETWEEN {} AND {}").format(column, *bounds)
    return sql.SQL("CONSTRAINT {} CHECK ({})").format(name, rule)
