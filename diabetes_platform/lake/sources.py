"""Reading a CSV or Parquet source of patient records as text, or refusing it with one message.

A file that cannot be read as this table is refused here; a bad *value* is not: cleaning judges it.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from diabetes_platform.contract.fields import FIELD_NAMES, FIELDS_BY_ALIAS

TEXT_SCHEMA = pa.schema([(name, pa.string()) for name in FIELD_NAMES])
_BLOCK_BYTES = 8 << 20
_HEADER = ", ".join(FIELD_NAMES)


class SourceError(ValueError):
    """A source that is no table of patients: where, what was given, what is allowed."""


def read_as_text(path: Path, name: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows of `path` as batches of text columns in contract order.

    `name` is what messages call the source. Raises SourceError that names line, column, what was
    given and what is allowed.
    """
    if path.stat().st_size == 0:
        raise SourceError(f"{name}: line 1: given an empty file, allowed the header {_HEADER}")
    if _is_parquet(path):
        yield from _read_parquet(path, name)
    else:
        yield from _read_csv(path, name)


def column_order(header: list[str], name: str) -> list[str]:
    """Map a header of field names or flat names, in any order, to field names."""
    names = [FIELDS_BY_ALIAS[h].name if h in FIELDS_BY_ALIAS else h for h in header]
    for position, column in enumerate(names, start=1):
        where = f"{name}: line 1, column {position}: given {header[position - 1]!r}"
        if column not in FIELD_NAMES:
            raise SourceError(f"{where}, allowed one of {_HEADER}")
        if column in names[: position - 1]:
            raise SourceError(f"{where} a second time, allowed once")
    absent = [field for field in FIELD_NAMES if field not in names]
    if absent:
        raise SourceError(
            f"{name}: line 1, column {len(header) + 1}: given {len(header)} columns without "
            f"{', '.join(absent)}, allowed {len(FIELD_NAMES)}: {_HEADER}"
        )
    return names


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _read_parquet(path: Path, name: str) -> Iterator[pa.RecordBatch]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"{name}: given a damaged Parquet file, allowed CSV or Parquet"
        ) from error
    with file:
        names = column_order(file.schema_arrow.names, name)
        if file.metadata.num_rows == 0:
            raise SourceError(f"{name}: row 1: given no rows, allowed at least one")
        for batch in file.iter_batches(batch_size=65_536):
            yield _cast_to_text(batch.rename_columns(names), name)


def _cast_to_text(batch: pa.RecordBatch, name: str) -> pa.RecordBatch:
    columns = []
    for position, field in enumerate(TEXT_SCHEMA, start=1):
        column = batch.column(field.name)
        try:
            columns.append(column.cast(pa.string()))
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise SourceError(
                f"{name}: column {position} ({field.name}): given type {column.type}, "
                "allowed text or numbers"
            ) from error
    return pa.record_batch(columns, schema=TEXT_SCHEMA)


def _read_csv(path: Path, name: str) -> Iterator[pa.RecordBatch]:
    names = _read_header(path, name)
    rows = 0
    try:
        reader = pa_csv.open_csv(
            path,
            read_options=pa_csv.ReadOptions(
                column_names=names, skip_rows=1, block_size=_BLOCK_BYTES
            ),
            parse_options=pa_csv.ParseOptions(newlines_in_values=False),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=list(FIELD_NAMES),
                strings_can_be_null=False,
                check_utf8=True,
            ),
        )
        with reader:
            for batch in reader:
                rows += batch.num_rows
                yield batch
    except pa.ArrowInvalid as error:
        # Arrow parses blocks in parallel and cannot say the line: a slow pass finds it.
        diagnose(path, name, len(names))
        raise SourceError(f"{name}: given a file that does not parse as CSV: {error}") from error
    if rows == 0:
        raise SourceError(_no_rows(name))


def _read_header(path: Path, name: str) -> list[str]:
    with path.open("rb") as file:
        line, rest = file.readline(1 << 16), file.read(1 << 16)
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(_encoding_message(name, 1, line, error)) from error
    header = next(csv.reader(io.StringIO(text)), [])
    names = column_order([cell.strip() for cell in header], name)
    if not rest.strip():
        raise SourceError(_no_rows(name))
    return names


def diagnose(path: Path, name: str, columns: int) -> None:
    """Raise SourceError for the first line of a CSV that has another width or encoding."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise SourceError(_encoding_message(name, number, line, error)) from error
            cells = next(csv.reader([text.rstrip("\r\n")]), [])
            if cells and len(cells) != columns:
                raise SourceError(
                    f"{name}: line {number}, column {min(len(cells), columns) + 1}: "
                    f"given {len(cells)} columns, allowed {columns}: {_HEADER}"
                )


def _no_rows(name: str) -> str:
    return f"{name}: line 2: given no rows, allowed at least one"


def _encoding_message(name: str, number: int, line: bytes, error: UnicodeDecodeError) -> str:
    column = line[: error.start].count(b",") + 1
    return (
        f"{name}: line {number}, column {column}: given byte 0x{line[error.start]:02x}, "
        "allowed UTF-8 text"
    )
