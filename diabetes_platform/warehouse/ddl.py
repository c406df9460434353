"""Columns of contract tables in PostgreSQL: their quoted names and their types."""

from psycopg import sql

from diabetes_platform.contract.tables import ColumnType, Table

TYPES: dict[ColumnType, str] = {
    "text": "text",
    "integer": "integer",
    "bigint": "bigint",
    "number": "double precision",
    "timestamp": "timestamp with time zone",
    "text[]": "text[]",
    "json": "jsonb",
}
"""The types as PostgreSQL's `format_type` writes them."""


def column_names(table: Table) -> sql.Composed:
    """Return the quoted, comma-separated names of the columns of `table`."""
    return sql.SQL(", ").join(sql.Identifier(name) for name in table.column_names)
