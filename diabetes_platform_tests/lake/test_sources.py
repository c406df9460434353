"""Reading a source: as text in contract order, or refused with one message."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diabetes_platform.contract.fields import FIELD_NAMES, FIELDS
from diabetes_platform.lake.sources import SourceError, read_as_text

HEADER = ",".join(FIELD_NAMES)
FLAT = ",".join(field.alias for field in FIELDS)
ROW = "6,148,72,35,0,33.6,0.627,50,1"

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(content: bytes | str) -> Path:
        path = tmp_path / "patients.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def read(path: Path) -> list[list[str | None]]:
    rows = pa.Table.from_batches(read_as_text(path, "patients.csv")).to_pylist()
    return [list(row.values()) for row in rows]


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\n{ROW}\n",
        f"{HEADER}\n{ROW}",
        f"{HEADER}\r\n{ROW}\r\n\r\n",
        f"\ufeff{HEADER}\n{ROW}\n",
        f"{FLAT}\n{ROW}\n",
        f'{HEADER}\n"6",148,72,"35",0,33.6,0.627,50,1\n',
        f"outcome,{HEADER.removesuffix(',outcome')}\n1,{ROW.removesuffix(',1')}\n",
    ],
    ids=["plain", "no last newline", "CRLF", "BOM", "flat names", "quoted", "other order"],
)
def test_any_dialect_of_the_same_table_gives_the_same_text(save: Save, content: str) -> None:
    assert read(save(content)) == [ROW.split(",")]


def test_a_bad_value_does_not_refuse_the_file(save: Save) -> None:
    values = "1,abc,NaN,inf,1e308,,-1,-8, 2 "
    assert read(save(f"{HEADER}\n{values}\n")) == [values.split(",")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: given an empty file, allowed the header pregnancies"),
        (f"{HEADER}\n", "line 2: given no rows, allowed at least one"),
        (HEADER, "line 2: given no rows, allowed at least one"),
        (f"{HEADER}\n{ROW}\n{ROW},1\n", "line 3, column 10: given 10 columns, allowed 9"),
        (f"{HEADER}\n{ROW[:-2]}\n", "line 2, column 9: given 8 columns, allowed 9"),
        (f"a,{HEADER}\n1,{ROW}\n", "line 1, column 1: given 'a', allowed one of pregnancies"),
        (HEADER.replace("age", "bmi"), "line 1, column 8: given 'bmi' a second time"),
        (HEADER.replace("age", "Outcome"), "line 1, column 9: given 'outcome' a second time"),
        (HEADER.removesuffix(",outcome"), "column 9: given 8 columns without outcome, allowed 9"),
        (f"{HEADER}\n{ROW}\n".encode() + b"1,caf\xe9,3\n", "line 3, column 2: given byte 0xe9"),
        (b"\xff\xfe" + HEADER.encode("utf-16-le"), "line 1, column 1: given byte 0xff"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_this_table_is_refused_with_its_place(
    save: Save, content: bytes | str, message: str
) -> None:
    with pytest.raises(SourceError, match=r"^patients\.csv: ") as refused:
        read(save(content))
    assert message in str(refused.value)


def test_a_fault_far_into_a_large_file_is_named_by_its_line(save: Save) -> None:
    content = f"{HEADER}\n" + f"{ROW}\n" * 400_000 + "1,2\n"
    with pytest.raises(SourceError, match="line 400002, column 3: given 2 columns, allowed 9"):
        read(save(content))


def test_numbers_of_a_parquet_file_become_text(tmp_path: Path) -> None:
    values = [6, 148.5, 72.0, None, 0, 33.6, 0.627, 50, 1]
    table = pa.table({name: [value] for name, value in zip(FIELD_NAMES, values, strict=True)})
    path = tmp_path / "patients.parquet"
    pq.write_table(table, path)

    assert read(path) == [["6", "148.5", "72", None, "0", "33.6", "0.627", "50", "1"]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"glucose": [[1.0]]},
            r"column 2 \(glucose\): given type list<.*>, allowed text or numbers",
        ),
        ({"more": [1]}, "column 10: given 'more', allowed one of"),
    ],
)
def test_a_parquet_file_of_another_shape_is_refused(
    tmp_path: Path, columns: dict[str, object], message: str
) -> None:
    path = tmp_path / "patients.parquet"
    pq.write_table(pa.table({**{name: [1] for name in FIELD_NAMES}, **columns}), path)
    with pytest.raises(SourceError, match=message):
        read(path)


def test_damaged_and_empty_parquet_files_are_refused(tmp_path: Path, save: Save) -> None:
    with pytest.raises(SourceError, match="given a damaged Parquet file"):
        read(save(b"PAR1 but nothing else"))
    path = tmp_path / "patients.parquet"
    pq.write_table(pa.table({name: pa.array([], pa.string()) for name in FIELD_NAMES}), path)
    with pytest.raises(SourceError, match="row 1: given no rows"):
        read(path)
