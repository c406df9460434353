"""Reading CSV: text in contract order, each row on the line that it is stored under."""

from pathlib import Path

import pyarrow as pa
import pytest

from diabetes_platform.contract.fields import FIELDS
from diabetes_platform.lake.source_files import SourceError, read_as_text
from diabetes_platform_tests.lake.conftest import Save, chained_errors
from diabetes_platform_tests.samples import CSV_HEADER, ORIGINAL_NAMES, WEIGHT

HEADER = CSV_HEADER
FLAT = ",".join(field.alias for field in FIELDS if field.original)
ROW = "6,148,72,35,0,33.6,0.627,50,1"
QUOTED_BREAK = '6,"14\n8",72,35,0,33.6,0.627,50,1'
FAR = 400_000
"""Rows of more bytes than one block of Arrow's reader."""


def read(path: Path) -> list[list[str | None]]:
    rows = pa.Table.from_batches(read_as_text(path, "patients.csv")).to_pylist()
    return [[row[name] for name in ORIGINAL_NAMES] for row in rows]


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\n{ROW}\n",
        f"{HEADER}\n{ROW}",
        f"{HEADER}\r\n{ROW}\r\n",
        f"\ufeff{HEADER}\n{ROW}\n",
        f"{FLAT}\n{ROW}\n",
        f'{HEADER}\n"6",148,72,"35",0,33.6,0.627,50,1\n',
        f"outcome,{HEADER.removesuffix(',outcome')}\n1,{ROW.removesuffix(',1')}\n",
        f"{HEADER}\n{ROW}\n\n",
        f"{HEADER}\r\n{ROW}\r\n\r\n\r\n",
        f"{HEADER}\n{ROW}\n" + "\n" * 70_000,
        f"{HEADER}\n{ROW}\n  \n\t\n ",
    ],
    ids=[
        "plain",
        "no last newline",
        "CRLF",
        "BOM",
        "flat names",
        "quoted",
        "other order",
        "blank last line",
        "blank last lines, CRLF",
        "many blank last lines",
        "last lines of spaces",
    ],
)
def test_reads_every_dialect_as_the_same_text(save: Save, content: str) -> None:
    assert read(save(content)) == [ROW.split(",")]


@pytest.mark.parametrize(
    "values", ["1,abc,NaN,inf,1e308,,-1,-8, 2 ", ",,,,,,,,", ",,,,,,,, ", "\ufeff,,,,,,,,"]
)
def test_an_invalid_value_does_not_reject_the_file(save: Save, values: str) -> None:
    assert read(save(f"{HEADER}\n{values}\n")) == [values.split(",")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: an empty file; allowed: the header pregnancies"),
        (f"{HEADER}\n", "line 2: no rows; allowed: at least one"),
        (HEADER, "line 2: no rows; allowed: at least one"),
        (f"{HEADER}\n\n\n", "line 2: no rows; allowed: at least one"),
        (f"{HEADER}\n{ROW}\n{ROW},1\n", "line 3, column 10: 10 columns; allowed: 9"),
        (f"{HEADER}\n{ROW[:-2]}\n", "line 2, column 9: 8 columns; allowed: 9"),
        (f"a,{HEADER}\n1,{ROW}\n", "line 1, column 1: 'a'; allowed: one of pregnancies"),
        (f"{ROW}\n{ROW}\n", "line 1, column 1: a number, so the file seems to have no"),
        (f"\n{HEADER}\n{ROW}\n", "line 1, column 1: a blank line"),
        (f"{HEADER},{' ' * 70_000}\n{ROW}\n", "line 1, column 10: ''"),
        (f"{HEADER}{' ' * 70_000}\n{ROW}\n", "line 1: 65536 bytes or more; allowed: fewer"),
        (f"{HEADER}\n{ROW}\n".encode() + b"1,caf\xe9,3\n", "line 3, column 2: byte 0xe9"),
        (b"\xff\xfe" + HEADER.encode("utf-16-le"), "line 1, column 1: byte 0xff"),
        (f"{HEADER}\r{ROW}\r{ROW}\r", "line 1, column 9: a carriage return inside a line"),
        (f"{HEADER}\n{ROW}\r{ROW}\n", "line 2, column 9: a carriage return inside a line"),
        (f"{HEADER}\n{ROW}\n6,1\r48,72\n", "line 3, column 2: a carriage return inside"),
        (f"{HEADER}\n{ROW}\r\r\n{ROW}\n", "line 2, column 9: a carriage return inside"),
        (f"{HEADER}\n\n{ROW}\n", "line 2, column 1: a blank line; allowed: only after"),
        (f"{HEADER}\r\n{ROW}\r\n\r\n{ROW}\r\n", "line 3, column 1: a blank line"),
        (f"{HEADER}\n{ROW}\n \n{ROW}\n\n", "line 3, column 1: a blank line"),
        (f"{HEADER}\n{ROW}\n{QUOTED_BREAK}\n", "line 3, column 2: a line break inside quo"),
        (f'"pregnancies\n",{HEADER}\n{ROW}\n', "line 1, column 1: a line break inside quo"),
        (f'{HEADER}\n{ROW}\n6,"148\n', "line 3, column 2: a line break inside quotes"),
        (f'{HEADER}\n{ROW[:-1]}"1\n\n', "line 2, column 9: a line break inside quotes"),
        (f"{HEADER}\n{ROW}\n{ROW}\r", "line 3, column 9: a carriage return inside a line"),
        (f"\ufeff{HEADER}\n\ufeff\n{ROW}\n", "line 2, column 2: 1 columns; allowed: 9"),
        (f"{HEADER}\n{ROW}\n{'6' * 200_000},1\n", "line 3, column 1: a value of more than"),
        (f"{HEADER}\n{ROW},1\n\n{ROW}\n", "line 2, column 10: 10 columns; allowed: 9"),
    ],
)  # fmt: skip
def test_rejects_another_file_with_line_and_column(
    save: Save, content: bytes | str, message: str
) -> None:
    with pytest.raises(SourceError, match=r"^patients\.csv: .*; allowed: ") as refused:
        read(save(content))
    assert message in str(refused.value)
    assert chained_errors(refused.value) == []
    assert not any(value in str(refused.value) for value in ("148", "33.6", "0.627"))


def test_the_outcome_is_null_if_its_column_is_absent(save: Save) -> None:
    header = ",".join(ORIGINAL_NAMES[:8])
    path = save(f"{header}\n6,148,72,35,0,33.6,0.627,50\n".encode())
    (row,) = pa.Table.from_batches(read_as_text(path, "p.csv")).to_pylist()
    assert (row["age"], row["outcome"]) == ("50", None)


def test_the_column_of_a_later_field_is_null_if_absent(save: Save) -> None:
    fields = [*FIELDS, WEIGHT]
    old = pa.Table.from_batches(read_as_text(save(f"{HEADER}\n{ROW}\n"), "p.csv", fields))
    new = read_as_text(save(f"weight,{HEADER}\n70.5,{ROW}\n"), "p.csv", fields)
    assert old["weight"].to_pylist() == [None]
    assert pa.Table.from_batches(new)["weight"].to_pylist() == ["70.5"]
    assert old.column_names == [field.name for field in fields]


def test_names_the_columns_of_a_file_without_a_later_field(save: Save) -> None:
    with pytest.raises(SourceError, match=r"1 columns; allowed: 9 \(.*outcome\)$"):
        list(read_as_text(save(f"{HEADER}\n1\n"), "p.csv", [*FIELDS, WEIGHT]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2", f"line {FAR + 2}, column 3: 2 columns; allowed: 9"),
        ("", f"line {FAR + 2}, column 1: a blank line"),
        (QUOTED_BREAK, f"line {FAR + 2}, column 2: a line break inside quotes"),
        (f"{ROW}\r{ROW}", f"line {FAR + 2}, column 9: a carriage return inside a line"),
        ("6" * (17 << 20), f"line {FAR + 2}, column 1: 8388608 bytes or more"),
    ],
    ids=["width", "blank", "quoted break", "carriage return", "endless"],
)
def test_names_the_line_of_a_fault_in_a_large_file(save: Save, line: str, message: str) -> None:
    content = f"{HEADER}\n" + f"{ROW}\n" * FAR + f"{line}\n{ROW}\n"
    with pytest.raises(SourceError) as refused:
        read(save(content))
    assert message in str(refused.value)


def test_reads_lines_across_blocks(save: Save) -> None:
    """A CRLF or a row that lies across two blocks is neither a fault nor counted twice."""
    path = save(f"{HEADER}\r\n" + f"{ROW}\r\n" * FAR)
    assert sum(batch.num_rows for batch in read_as_text(path, "patients.csv")) == FAR
