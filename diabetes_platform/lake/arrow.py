"""Contract tables as Arrow schemas, and the content hash of Arrow rows."""

import hashlib
from io import RawIOBase
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as pa_csv

from diabetes_platform.contract.tables import ColumnType, Table

if TYPE_CHECKING:
    from hashlib import _Hash

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
    sink = _Digest(hashlib.sha256())
    pa_csv.write_csv(rows.sort_by(key), pa.PythonFile(sink, mode="w"))
    return sink.digest.hexdigest()


class _Digest(RawIOBase):
    """A file object that only hashes what is written, so that the text is never in memory."""

    def __init__(self, digest: "_Hash") -> None:
        super().__init__()
        self.digest = digest

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        self.digest.update(view)
        return view.nbytes
