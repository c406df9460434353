"""Contract tables rendered as Arrow schemas, which Delta tables are written with."""

import pyarrow as pa

from diabetes_platform.contract.tables import ColumnType, Table

_ARROW: dict[ColumnType, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "number": pa.float64(),
    "timestamp": pa.timestamp("us", "UTC"),
    "text[]": pa.list_(pa.string()),
    "bytes": pa.binary(),
}


def arrow_schema(table: Table) -> pa.Schema:
    """Return the Arrow schema of `table`; descriptions travel as field metadata."""
    return pa.schema(
        [
            pa.field(
                column.name,
                _ARROW[column.type],
                nullable=column.nullable,
                metadata={"comment": column.description},
            )
            for column in table.columns
        ]
    )


def row_schema(table: Table) -> pa.Schema:
    """Return the schema of rows for `table`: Delta refuses descriptions that it does not have."""
    return pa.schema([field.remove_metadata() for field in arrow_schema(table)])
