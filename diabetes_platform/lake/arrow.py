"""Contract tables as Arrow schemas, and the content hash of Arrow rows."""

import hashlib

import pyarrow as pa
import pyarrow.csv as pa_csv

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
    """Return the Arrow schema of `table` with the descriptions as field metadata."""
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
    """Return the schema of rows for `table`, without descriptions: Delta rejects changed ones."""
    return pa.schema([field.remove_metadata() for field in arrow_schema(table)])


def content_hash_of(rows: pa.Table, key: str) -> str:
    """Return the SHA-256 of the column names and values of `rows` as CSV, sorted by `key`.

    The values of `key` are unique. A number is written as the shortest text that parses to it.
    """
    digest = hashlib.sha256()
    header, sorted_rows = rows.slice(0, 0), rows.sort_by(key)
    # In batches, so that the text of all rows is never in memory.
    for batch in (header, *sorted_rows.to_batches(max_chunksize=65_536)):
        text = pa.BufferOutputStream()
        pa_csv.write_csv(batch, text, pa_csv.WriteOptions(include_header=batch is header))
        digest.update(text.getvalue())
    return digest.hexdigest()
