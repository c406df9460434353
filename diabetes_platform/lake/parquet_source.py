"""Reading a Parquet source as text: every column is cast, a damaged file is refused."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from diabetes_platform.lake.sources import TEXT_SCHEMA, SourceError, column_order, unreadable

MAGIC = b"PAR1"
_BATCH_ROWS = 65_536


def read_parquet(path: Path, name: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the Parquet file `path`.

    Raises SourceError; rows may have been yielded before it.
    """
    file = _open(path)
    if file is None:
        raise SourceError(f"{name}: given a damaged Parquet file, allowed CSV or Parquet")
    with file:
        names = column_order(file.schema_arrow.names, name)
        expected = file.metadata.num_rows
        if expected == 0:
            raise SourceError(f"{name}: row 1: given no rows, allowed at least one")
        rows = 0
        for batch in _batches(file):
            yield _cast_to_text(batch.rename_columns(names), name)
            rows += batch.num_rows
    if rows != expected:
        raise SourceError(
            f"{name}: row {rows + 1} or later: given damaged data, "
            f"allowed the {expected} rows that the file's footer tells of"
        )


def _open(path: Path) -> pq.ParquetFile | None:
    """Open the file, None where its footer is damaged."""
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        file.schema_arrow.names  # noqa: B018  # a damaged name fails only when it is read
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if not unreadable(error):
            raise
        return None
    return file


def _batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """Yield the batches up to damaged data: the caller misses rows and says so."""
    try:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            batch.validate(full=True)
            yield batch
    except (pa.ArrowException, OSError) as error:
        if not unreadable(error):
            raise


def _cast_to_text(batch: pa.RecordBatch, name: str) -> pa.RecordBatch:
    columns = []
    for position, field in enumerate(TEXT_SCHEMA, start=1):
        column = batch.column(field.name)
        text = _as_text(column)
        if text is None:
            raise SourceError(
                f"{name}: column {position} ({field.name}): given type {column.type}, "
                "allowed text or numbers"
            )
        columns.append(text)
    return pa.record_batch(columns, schema=TEXT_SCHEMA)


def _as_text(column: pa.Array) -> pa.Array | None:
    try:
        return column.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return None
