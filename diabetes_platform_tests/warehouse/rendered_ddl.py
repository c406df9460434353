"""The contract as DDL: columns and CHECK constraints, to compare with the migrations."""

from psycopg import sql

from diabetes_platform.contract.fields import FIELDS, Field
from diabetes_platform.contract.tables import Column, Table
from diabetes_platform.warehouse.migrate import TYPES


def columns(table: Table, *, not_null: bool) -> sql.Composed:
    """Return the column list of a CREATE TABLE; `not_null` renders the contract's nullability."""
    return sql.SQL(", ").join(_column(column, not_null=not_null) for column in table.columns)


def field_checks(fields: tuple[Field, ...] = FIELDS) -> list[sql.Composed]:
    """Return one named CHECK constraint for the allowed values of each field."""
    return [_field_check(field) for field in fields]


def _column(column: Column, *, not_null: bool) -> sql.Composed:
    kind = sql.SQL(TYPES[column.type])  # type: ignore[arg-type]
    suffix = sql.SQL(" NOT NULL" if not_null and not column.nullable else "")
    return sql.SQL("{} {}{}").format(sql.Identifier(column.name), kind, suffix)


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
