"""Source files (CSV or Parquet) read as batches of text columns in contract order.

A file that is not a table of patients raises SourceError. A bad value does not: cleaning rejects
its row. Messages reach logs, so they must not contain a patient's value.
"""

import codecs
import csv
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from diabetes_platform.contract.fields import FIELD_NAMES, FIELDS, OUTCOME, Field
from diabetes_platform.contract.validation import NUMBER_PATTERN

ALLOWED_HEADER = ", ".join(FIELD_NAMES)
_NUMBER = re.compile(NUMBER_PATTERN)
_MAX_DISPLAYED_CHARACTERS = 40


class SourceError(ValueError):
    """A source is not a table of patients; the message names line, column and what is allowed.

    It is raised outside of `except` blocks, so that it has neither cause nor context: Arrow's
    errors quote whole rows, HTTP errors whole URLs, and a log would contain both.
    """


def column_order(header: list[str], name: str, fields: Sequence[Field] = FIELDS) -> list[str]:
    """Map a header of field names or aliases, in any order, to field names.

    A field that joined the contract later may be absent, so that older files stay readable. So may
    the outcome: patients without one are served, not trained on.
    """
    by_alias = {field.alias: field.name for field in fields}
    allowed = ", ".join(field.name for field in fields)
    names = [by_alias.get(cell, cell) for cell in header]
    for position, cell in enumerate(header, start=1):
        if _NUMBER.fullmatch(cell):
            raise SourceError(
                f"{name}: line 1, column {position}: a number, so the file seems to have no "
                f"header; allowed: the header {ALLOWED_HEADER}"
            )
    for position, column in enumerate(names, start=1):
        where = f"{name}: line 1, column {position}: {_displayed(header[position - 1])}"
        if column not in {field.name for field in fields}:
            raise SourceError(f"{where}; allowed: one of {allowed}")
        if column in names[: position - 1]:
            raise SourceError(f"{where} a second time; allowed: once")
    required = [field.name for field in fields if field.original and field.name != OUTCOME.name]
    absent = [name for name in required if name not in names]
    if absent:
        raise SourceError(
            f"{name}: line 1, column {len(header) + 1}: {len(header)} columns without "
            f"{', '.join(absent)}; allowed: {allowed}"
        )
    return names


@contextmanager
def _damaged_content_ignored() -> Iterator[None]:
    """End the block at damaged content, because Arrow's error quotes a row; the caller misses rows.

    Errors of disk and memory pass through: an OSError of the operating system has an errno,
    Arrow's own, for a damaged page, has none.
    """
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        has_errno = isinstance(error, OSError) and error.errno is not None
        if has_errno or isinstance(error, MemoryError | pa.ArrowCancelled):
            raise


def _displayed(cell: str) -> str:
    """Return the cell if it can only be a name: `6;148;72` are values in another dialect."""
    if cell.isidentifier() or not any(character.isdigit() for character in cell):
        return repr(cell[:_MAX_DISPLAYED_CHARACTERS])
    return "text that is no name"


MAX_LINE_BYTES = 8 << 20
"""The size of the blocks that are parsed; a line must fit into one."""
_TAIL_BYTES = 1 << 16


def end_of_rows(path: Path) -> int:
    """Return the offset after the last line that is not blank."""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        while position > 0:
            size = min(_TAIL_BYTES, position)
            position = file.seek(position - size)
            content = len(file.read(size).rstrip())
            if content:
                # Spaces after the last visible byte may belong to the last value.
                file.seek(position + content)
                return position + content + len(file.readline())
    return 0


def _split(line: bytes) -> tuple[list[str], str | None]:
    """Return the cells of one physical line, or a description of its fault without its values."""
    body = line.removesuffix(b"\r\n").removesuffix(b"\n")
    head, carriage_return, _ = body.partition(b"\r")
    if carriage_return:
        fault = "a carriage return inside a line; allowed: lines that end with LF or CRLF"
        return [], f"column {head.count(b',') + 1}: {fault}"
    if not body.strip():
        return [], "column 1: a blank line; allowed: only after the last row"
    if len(line) >= MAX_LINE_BYTES:
        return [], f"column 1: {MAX_LINE_BYTES} bytes or more; allowed: a shorter line"
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        column = body[: error.start].count(b",") + 1
        return [], f"column {column}: byte 0x{body[error.start]:02x}; allowed: UTF-8 text"
    return _cells(text)


def _cells(text: str) -> tuple[list[str], str | None]:
    # The csv reader asks for a second line if a quote is still open.
    reader = csv.reader([text, ""])
    try:
        cells = next(reader)
    except csv.Error:
        limit = csv.field_size_limit()
        return [], f"column 1: a value of more than {limit} characters; allowed: numbers"
    if reader.line_num > 1:
        return [], f"column {len(cells)}: a line break inside quotes; allowed: one line a row"
    return cells, None


_HEADER_BYTES = 1 << 16
_NO_LINE_AT_FAULT = "lines that do not parse as CSV; allowed: one row of numbers a line"


def read_csv(path: Path, name: str, fields: Sequence[Field] = FIELDS) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the CSV file `path`; row n is line n + 1 of the file.

    Raises SourceError that names the line, possibly after rows were yielded.
    """
    end, number = end_of_rows(path), 2
    with path.open("rb") as file:
        names = _read_header(file, name, fields)
        if file.tell() >= end:
            raise SourceError(f"{name}: line 2: no rows; allowed: at least one")
        while (remaining := end - file.tell()) > 0:
            lines = file.read(min(MAX_LINE_BYTES, remaining))
            if not lines.endswith(b"\n"):
                lines += file.readline(min(MAX_LINE_BYTES, end - file.tell()))
            rows = _parse(lines, names, fields)
            if rows is None:
                raise SourceError(f"{name}: {_first_fault(lines, number, names)}")
            yield from rows.to_batches()
            number += rows.num_rows


def _read_header(file: BinaryIO, name: str, fields: Sequence[Field]) -> list[str]:
    """Return the field names in the order of line 1."""
    line = file.readline(_HEADER_BYTES)
    header, fault = _split(line.removeprefix(codecs.BOM_UTF8))
    if fault is not None:
        raise SourceError(f"{name}: line 1, {fault}")
    names = column_order([cell.strip() for cell in header], name, fields)
    if len(line) == _HEADER_BYTES:
        raise SourceError(f"{name}: line 1: {len(line)} bytes or more; allowed: fewer")
    return names


def _parse(lines: bytes, names: list[str], fields: Sequence[Field]) -> pa.Table | None:
    """Return a row for each line; None if a line is no row.

    Arrow skips blank lines, ends a line at any carriage return, and takes a quoted line break as
    part of a value. If there is no carriage return but that of CRLF, and no open quote in the last
    line, the numbers of rows and lines are equal only if every line is a row.
    """
    last = lines[lines.rfind(b"\n", 0, -1) + 1 :]
    # Counting "\r\n" is slow: most files have no carriage return.
    has_lone_return = b"\r" in lines and lines.count(b"\r") != lines.count(b"\r\n")
    if has_lone_return or _split(last)[1] is not None:
        return None
    allowed = [field.name for field in fields]
    # Without the first line, Arrow would drop a byte order mark at the beginning of a row.
    content = b"-\n" + lines
    with _damaged_content_ignored():
        rows = pa_csv.read_csv(
            pa.BufferReader(content),
            # With threads, pyarrow 26 sometimes aborts the process at its exit.
            pa_csv.ReadOptions(
                use_threads=False, block_size=len(content), skip_rows=1, column_names=names
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(allowed, pa.string()),
                include_columns=allowed,
                include_missing_columns=True,
            ),
        )
        if rows.num_rows == lines.count(b"\n") + (not lines.endswith(b"\n")):
            return rows
    return None


def _first_fault(lines: bytes, number: int, columns: Sequence[str]) -> str:
    """Describe the first invalid line; the first line of `lines` has this number."""
    for line_number, line in enumerate(BytesIO(lines), start=number):
        cells, fault = _split(line)
        if fault is None and len(cells) != len(columns):
            column, names = min(len(cells), len(columns)) + 1, ", ".join(columns)
            fault = f"column {column}: {len(cells)} columns; allowed: {len(columns)} ({names})"
        if fault is not None:
            return f"line {line_number}, {fault}"
    return _NO_LINE_AT_FAULT


MAGIC = b"PAR1"
_BATCH_ROWS = 65_536


def read_parquet(
    path: Path, name: str, fields: Sequence[Field] = FIELDS
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the Parquet file `path`.

    Raises SourceError, possibly after rows were yielded.
    """
    file = _open(path)
    if file is None:
        raise SourceError(f"{name}: a damaged Parquet file; allowed: CSV or Parquet")
    with file:
        names = column_order(file.schema_arrow.names, name, fields)
        expected = file.metadata.num_rows
        if expected == 0:
            raise SourceError(f"{name}: row 1: no rows; allowed: at least one")
        rows = 0
        for batch in _batches(file):
            yield _cast_to_text(batch.rename_columns(names), name, fields)
            rows += batch.num_rows
    if rows != expected:
        raise SourceError(
            f"{name}: row {rows + 1} or later: damaged data; "
            f"allowed: the {expected} rows of the file's footer"
        )


def _open(path: Path) -> pq.ParquetFile | None:
    """Open the file; None if its footer is damaged."""
    with _damaged_content_ignored():
        file = pq.ParquetFile(path, page_checksum_verification=True)
        file.schema_arrow.names  # noqa: B018  # a damaged name raises on access
        return file
    return None


def _batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """Yield the batches up to damaged data."""
    with _damaged_content_ignored():
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            batch.validate(full=True)
            yield batch


def _cast_to_text(batch: pa.RecordBatch, name: str, fields: Sequence[Field]) -> pa.RecordBatch:
    columns: dict[str, pa.Array] = {}
    for position, field in enumerate(fields, start=1):
        if field.name not in batch.schema.names:
            columns[field.name] = pa.nulls(batch.num_rows, pa.string())
            continue
        column = _without_nan(batch.column(field.name))
        with suppress(pa.ArrowNotImplementedError, pa.ArrowInvalid):
            columns[field.name] = column.cast(pa.string())
        if field.name not in columns:
            raise SourceError(
                f"{name}: column {position} ({field.name}): type {column.type}; "
                "allowed: text or numbers"
            )
    return pa.record_batch(columns)


def _without_nan(column: pa.Array) -> pa.Array:
    """Return the column with NULL for NaN, which writers of Parquet store for a missing value."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def read_as_text(
    path: Path, name: str, fields: Sequence[Field] = FIELDS
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of `path` as batches of text columns in contract order.

    A column that is absent because the file is older than the field, or has no outcomes, is NULL.
    `name` identifies the source in messages. Raises SourceError that names line, column, content
    and allowed content, possibly after rows were yielded.
    """
    with path.open("rb") as file:
        start = file.read(len(MAGIC))
    if not start:
        raise SourceError(f"{name}: line 1: an empty file; allowed: the header {ALLOWED_HEADER}")
    read = read_parquet if start == MAGIC else read_csv
    yield from read(path, name, fields)
