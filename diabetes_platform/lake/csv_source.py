"""Reading a CSV source as text: Arrow parses, each row is one physical line."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from diabetes_platform.contract.fields import FIELD_NAMES
from diabetes_platform.lake.csv_lines import (
    MAX_LINE_BYTES,
    count_lines,
    end_of_rows,
    first_fault,
    split_header,
)
from diabetes_platform.lake.sources import SourceError, column_order, unreadable

_HEADER_BYTES = 1 << 16
_NO_LINE_AT_FAULT = "given lines that do not parse as CSV, allowed one row of numbers a line"


def read_csv(path: Path, name: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the CSV file `path`; row n of them is line n + 1 of the file.

    Raises SourceError that names the line; rows may have been yielded before it.
    """
    header_bytes, names = _read_header(path, name)
    end = end_of_rows(path)
    if end <= header_bytes:
        raise SourceError(f"{name}: line 2: given no rows, allowed at least one")
    lines = count_lines(path, end)
    read = 1
    if lines is not None:
        for batch in _parse(path, names, end):
            read += batch.num_rows
            yield batch
    # Arrow leaves out blank lines and takes a quoted line break as part of a value, so that the
    # numbers are equal only where each line is a row.
    if read != lines:
        fault = first_fault(path, len(names), end)
        raise SourceError(f"{name}: {fault or _NO_LINE_AT_FAULT}")


def _read_header(path: Path, name: str) -> tuple[int, list[str]]:
    """Return the length of line 1 in bytes and the field names in the file's order."""
    with path.open("rb") as file:
        line = file.readline(_HEADER_BYTES)
    header, fault = split_header(line)
    if fault is not None:
        raise SourceError(f"{name}: {fault}")
    names = column_order(header, name)
    if len(line) == _HEADER_BYTES:
        raise SourceError(f"{name}: line 1: given {len(line)} bytes or more, allowed fewer")
    return len(line), names


def _parse(path: Path, names: list[str], end: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows before byte `end` up to a block that does not parse.

    The caller misses rows and finds out why: Arrow's error quotes a row and must not leave here.
    """
    try:
        with (
            pa.OSFile(str(path)) as file,
            pa_csv.open_csv(file.get_stream(0, end), **_options(names)) as reader,
        ):
            yield from reader
    except (pa.ArrowException, OSError) as error:
        if not unreadable(error):
            raise


def _options(names: list[str]) -> dict[str, object]:
    return {
        "read_options": pa_csv.ReadOptions(
            column_names=names, skip_rows=1, block_size=MAX_LINE_BYTES
        ),
        "parse_options": pa_csv.ParseOptions(newlines_in_values=False, ignore_empty_lines=True),
        "convert_options": pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=list(FIELD_NAMES),
            strings_can_be_null=False,
            check_utf8=True,
        ),
    }
