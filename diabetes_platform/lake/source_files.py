"""Source files (CSV or Parquet) read as batches of text columns in contract order.

A file that is not a table of patients raises SourceError. A bad value does not: cleaning rejects
its row. Messages reach logs, so they must not contain a patient's value.
"""

import codecs
import csv
import functools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from diabetes_platform.contract.fields import FIELD_NAMES, FIELDS, Field
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

    A field that joined the contract later may be absent, so that older files stay readable.
    """
    by_alias = {field.alias: field.name for field in fields}
    allowed = ", ".join(field.name for field in fields)
    names = [by_alias.get(cell, cell) for cell in header]
    _reject_numbers(header, name)
    for position, column in enumerate(names, start=1):
        where = f"{name}: line 1, column {position}: {_displayed(header[position - 1])}"
        if column not in {field.name for field in fields}:
            raise SourceError(f"{where}; allowed: one of {allowed}")
        if column in names[: position - 1]:
            raise SourceError(f"{where} a second time; allowed: once")
    absent = [field.name for field in fields if field.original and field.name not in names]
    if absent:
        raise SourceError(
            f"{name}: line 1, column {len(header) + 1}: {len(header)} columns without "
            f"{', '.join(absent)}; allowed: {allowed}"
        )
    return names


def is_content_error(error: Exception) -> bool:
    """Return whether Arrow's `error` is caused by the content, not by disk or memory.

    An OSError of the operating system has an errno; Arrow's own, for a damaged page, has none.
    """
    if isinstance(error, OSError):
        return error.errno is None
    return isinstance(error, pa.ArrowException | UnicodeDecodeError) and not isinstance(
        error, MemoryError | pa.ArrowCancelled
    )


def _reject_numbers(header: list[str], name: str) -> None:
    for position, cell in enumerate(header, start=1):
        if _NUMBER.fullmatch(cell):
            raise SourceError(
                f"{name}: line 1, column {position}: a number, so the file seems to have no "
                f"header; allowed: the header {ALLOWED_HEADER}"
            )


def _displayed(cell: str) -> str:
    """Return the cell if it can only be a name: `6;148;72` are values in another dialect."""
    if cell.isidentifier() or not any(character.isdigit() for character in cell):
        return repr(cell[:_MAX_DISPLAYED_CHARACTERS])
    return "text that is no name"


MAX_LINE_BYTES = 8 << 20
"""The block size of Arrow's reader; a line must fit into it."""
_TAIL_BYTES = 1 << 16
_NEWLINE = ord("\n")


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


def count_lines(path: Path, end: int) -> int | None:
    """Count the lines before byte `end`, including blank ones.

    None if a line is too long or contains a carriage return, or if a quote is still open at the
    end: Arrow would then count lines differently from an editor.
    """
    lines = offset = 0
    with path.open("rb") as file:
        while offset < end:
            chunk = file.read(min(MAX_LINE_BYTES, end - offset))
            if not chunk.endswith(b"\n"):
                chunk += file.readline(min(MAX_LINE_BYTES, end - offset - len(chunk)))
            offset += len(chunk)
            if not (_complete_lines(chunk) if offset < end else _last_lines(chunk)):
                return None
            lines += int(np.count_nonzero(np.frombuffer(chunk, np.uint8) == _NEWLINE))
    return lines if chunk.endswith(b"\n") else lines + 1


def _complete_lines(chunk: bytes) -> bool:
    # Counting "\r\n" is slow: most files have no carriage return.
    has_lone_return = b"\r" in chunk and chunk.count(b"\r") != chunk.count(b"\r\n")
    return chunk.endswith(b"\n") and not has_lone_return


def _last_lines(chunk: bytes) -> bool:
    body = chunk.removesuffix(b"\n")
    last = chunk[body.rfind(b"\n") + 1 :]
    return _complete_lines(body + b"\n") and _split(last)[1] is None


def first_fault(path: Path, columns: Sequence[str], end: int) -> str | None:
    """Describe the first invalid line before byte `end`; None if all are valid."""
    offset = 0
    with path.open("rb") as file:
        lines = iter(functools.partial(file.readline, MAX_LINE_BYTES), b"")
        for number, line in enumerate(lines, start=1):
            if offset >= end:
                break
            fault = _fault(line if number > 1 else line.removeprefix(codecs.BOM_UTF8), columns)
            if fault is not None:
                return f"line {number}, {fault}"
            offset += len(line)
    return None


def split_header(line: bytes) -> tuple[list[str], str | None]:
    """Return the stripped cells of line 1, or a description of its fault."""
    cells, fault = _split(line.removeprefix(codecs.BOM_UTF8))
    return [cell.strip() for cell in cells], None if fault is None else f"line 1, {fault}"


def _fault(line: bytes, columns: Sequence[str]) -> str | None:
    cells, fault = _split(line)
    if fault is None and len(cells) != len(columns):
        column = min(len(cells), len(columns)) + 1
        names = ", ".join(columns)
        return f"column {column}: {len(cells)} columns; allowed: {len(columns)} ({names})"
    return fault


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
    header_bytes, names = _read_header(path, name, fields)
    end = end_of_rows(path)
    if end <= header_bytes:
        raise SourceError(f"{name}: line 2: no rows; allowed: at least one")
    lines = count_lines(path, end)
    rows = 1  # the header
    if lines is not None:
        for batch in _parse(path, names, end, fields):
            rows += batch.num_rows
            yield batch
    # Arrow skips blank lines and takes a quoted line break as part of a value, so that the
    # numbers are equal only if every line is a row.
    if rows != lines:
        fault = first_fault(path, names, end)
        raise SourceError(f"{name}: {fault or _NO_LINE_AT_FAULT}")


def _read_header(path: Path, name: str, fields: Sequence[Field]) -> tuple[int, list[str]]:
    """Return the length of line 1 in bytes and the field names in the file's order."""
    with path.open("rb") as file:
        line = file.readline(_HEADER_BYTES)
    header, fault = split_header(line)
    if fault is not None:
        raise SourceError(f"{name}: {fault}")
    names = column_order(header, name, fields)
    if len(line) == _HEADER_BYTES:
        raise SourceError(f"{name}: line 1: {len(line)} bytes or more; allowed: fewer")
    return len(line), names


def _parse(
    path: Path, names: list[str], end: int, fields: Sequence[Field]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows before byte `end` up to a block that does not parse.

    The caller notices the missing rows: Arrow's error quotes a row and must not be raised.
    """
    try:
        with (
            pa.OSFile(str(path)) as file,
            pa_csv.open_csv(file.get_stream(0, end), **_options(names, fields)) as reader,
        ):
            yield from reader
    except (pa.ArrowException, OSError) as error:
        if not is_content_error(error):
            raise


def _options(names: list[str], fields: Sequence[Field]) -> dict[str, object]:
    allowed = [field.name for field in fields]
    return {
        "read_options": pa_csv.ReadOptions(
            column_names=names, skip_rows=1, block_size=MAX_LINE_BYTES
        ),
        "parse_options": pa_csv.ParseOptions(newlines_in_values=False, ignore_empty_lines=True),
        "convert_options": pa_csv.ConvertOptions(
            column_types=dict.fromkeys(allowed, pa.string()),
            include_columns=allowed,
            include_missing_columns=True,
            strings_can_be_null=False,
            check_utf8=True,
        ),
    }


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
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        file.schema_arrow.names  # noqa: B018  # a damaged name raises on access
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if not is_content_error(error):
            raise
        return None
    return file


def _batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """Yield the batches up to damaged data: the caller notices the missing rows."""
    try:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            batch.validate(full=True)
            yield batch
    except (pa.ArrowException, OSError) as error:
        if not is_content_error(error):
            raise


def _cast_to_text(batch: pa.RecordBatch, name: str, fields: Sequence[Field]) -> pa.RecordBatch:
    columns = []
    for position, field in enumerate(fields, start=1):
        if field.name not in batch.schema.names:
            columns.append(pa.nulls(batch.num_rows, pa.string()))
            continue
        column = batch.column(field.name)
        text = _as_text(column)
        if text is None:
            raise SourceError(
                f"{name}: column {position} ({field.name}): type {column.type}; "
                "allowed: text or numbers"
            )
        columns.append(text)
    return pa.record_batch(columns, names=[field.name for field in fields])


def _as_text(column: pa.Array) -> pa.Array | None:
    try:
        return column.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return None


def read_as_text(
    path: Path, name: str, fields: Sequence[Field] = FIELDS
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of `path` as batches of text columns in contract order.

    A column that is absent because the file is older than the field is NULL. `name` identifies the
    source in messages. Raises SourceError that names line, column, content and allowed content,
    possibly after rows were yielded.
    """
    with path.open("rb") as file:
        start = file.read(len(MAGIC))
    if not start:
        raise SourceError(f"{name}: line 1: an empty file; allowed: the header {ALLOWED_HEADER}")
    read = read_parquet if start == MAGIC else read_csv
    yield from read(path, name, fields)
