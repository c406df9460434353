"""The physical lines of a CSV source: where its rows lie and which line is at fault.

Arrow parses blocks in parallel and knows no line numbers. A fast pass over the bytes counts the
lines; only where Arrow finds another number of rows does a slow pass find the line to name.
"""

import codecs
import csv
import functools
import os
from pathlib import Path

import numpy as np

from diabetes_platform.lake.sources import ALLOWED_HEADER

MAX_LINE_BYTES = 8 << 20
"""A longer line does not fit a block of Arrow's reader."""
_TAIL_BYTES = 1 << 16
_NEWLINE = ord("\n")


def end_of_rows(path: Path) -> int:
    """Return the offset behind the last line that is not blank: blank lines may follow it."""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        while position > 0:
            size = min(_TAIL_BYTES, position)
            position = file.seek(position - size)
            used = len(file.read(size).rstrip())
            if used:
                # Spaces after the last visible byte may belong to the last value.
                file.seek(position + used)
                return position + used + len(file.readline())
    return 0


def count_lines(path: Path, end: int) -> int | None:
    """Count the lines before byte `end`, blank ones too.

    None where a line is too long, holds a carriage return that does not end it, or is the last and
    leaves a quote open: Arrow would see other lines than an editor does.
    """
    lines = offset = 0
    with path.open("rb") as file:
        while offset < end:
            chunk = file.read(min(MAX_LINE_BYTES, end - offset))
            if not chunk.endswith(b"\n"):
                chunk += file.readline(min(MAX_LINE_BYTES, end - offset - len(chunk)))
            offset += len(chunk)
            if not (_whole_lines(chunk) if offset < end else _last_lines(chunk)):
                return None
            lines += int(np.count_nonzero(np.frombuffer(chunk, np.uint8) == _NEWLINE))
    return lines if chunk.endswith(b"\n") else lines + 1


def _whole_lines(chunk: bytes) -> bool:
    # Counting "\r\n" is slow: most files have no carriage return.
    stray = b"\r" in chunk and chunk.count(b"\r") != chunk.count(b"\r\n")
    return chunk.endswith(b"\n") and not stray


def _last_lines(chunk: bytes) -> bool:
    body = chunk.removesuffix(b"\n")
    last = chunk[body.rfind(b"\n") + 1 :]
    return _whole_lines(body + b"\n") and _split(last)[1] is None


def first_fault(path: Path, columns: int, end: int) -> str | None:
    """Return what is wrong with the first line at fault before byte `end`, None if none is."""
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
    """Return the cells of line 1 without their outer spaces, or what is wrong with the line."""
    cells, fault = _split(line.removeprefix(codecs.BOM_UTF8))
    return [cell.strip() for cell in cells], None if fault is None else f"line 1, {fault}"


def _fault(line: bytes, columns: int) -> str | None:
    cells, fault = _split(line)
    if fault is None and len(cells) != columns:
        column = min(len(cells), columns) + 1
        return f"column {column}: given {len(cells)} columns, allowed {columns}: {ALLOWED_HEADER}"
    return fault


def _split(line: bytes) -> tuple[list[str], str | None]:
    """Return the cells of one physical line, or what is wrong with it; no value is quoted."""
    body = line.removesuffix(b"\r\n").removesuffix(b"\n")
    before, carriage_return, _ = body.partition(b"\r")
    if carriage_return:
        fault = "given a carriage return inside a line, allowed lines that end with LF or CRLF"
        return [], f"column {before.count(b',') + 1}: {fault}"
    if not body.strip():
        return [], "column 1: given a blank line, allowed only after the last row"
    if len(line) >= MAX_LINE_BYTES:
        return [], f"column 1: given {MAX_LINE_BYTES} bytes or more, allowed a shorter line"
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        column = body[: error.start].count(b",") + 1
        return [], f"column {column}: given byte 0x{body[error.start]:02x}, allowed UTF-8 text"
    return _cells(text)


def _cells(text: str) -> tuple[list[str], str | None]:
    # An open quote makes the reader ask for a second line.
    reader = csv.reader([text, ""])
    try:
        cells = next(reader)
    except csv.Error:
        limit = csv.field_size_limit()
        return [], f"column 1: given a value of more than {limit} characters, allowed numbers"
    if reader.line_num > 1:
        return [], f"column {len(cells)}: given a line break inside quotes, allowed one line a row"
    return cells, None
