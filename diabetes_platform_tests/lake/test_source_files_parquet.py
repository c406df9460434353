"""Reading Parquet: columns become text; a damaged file is refused, whatever is damaged."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diabetes_platform.contract.fields import FIELD_NAMES, FIELDS
from diabetes_platform.lake.source_files import SourceError, read_as_text
from diabetes_platform_tests.lake.conftest import Save, chained_errors
from diabetes_platform_tests.samples import ORIGINAL_NAMES, WEIGHT

ROWS = 200_000


def read(path: Path) -> list[list[str | None]]:
    rows = pa.Table.from_batches(read_as_text(path, "patients")).to_pylist()
    return [[row[name] for name in ORIGINAL_NAMES] for row in rows]


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    path = tmp_path / "patients.parquet"
    table = pa.table({name: pa.array(range(ROWS)) for name in FIELD_NAMES})
    pq.write_table(table, path, row_group_size=100_000, use_dictionary=False)
    return path


def test_reads_numbers_as_text(tmp_path: Path) -> None:
    values = [6, 148.5, 72.0, None, 0, 33.6, 0.627, 50, 1]
    table = pa.table({name: [value] for name, value in zip(ORIGINAL_NAMES, values, strict=True)})
    path = tmp_path / "patients.parquet"
    pq.write_table(table, path)

    assert read(path) == [["6", "148.5", "72", None, "0", "33.6", "0.627", "50", "1"]]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([float("nan"), 1.5], pa.float32()),
        pa.array([float("nan"), 1.5], pa.float64()),
        pa.array([float("nan"), 1.5]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_reads_nan_as_missing(tmp_path: Path, column: pa.Array) -> None:
    """Whatever texts mean missing: NaN is no text of the source."""
    path = tmp_path / "patients.parquet"
    pq.write_table(pa.table(dict.fromkeys(ORIGINAL_NAMES, column)), path)
    assert read(path) == [[None] * len(ORIGINAL_NAMES), ["1.5"] * len(ORIGINAL_NAMES)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"glucose": [[1.0]]},
            r"column 2 \(glucose\): type list<.*>; allowed: text or numbers",
        ),
        (
            {"glucose": [b"\xff"]},
            r"column 2 \(glucose\): type binary; allowed: text or numbers",
        ),
        ({"more": [1]}, "column 10: 'more'; allowed: one of"),
    ],
)
def test_rejects_other_columns_and_types(
    tmp_path: Path, columns: dict[str, object], message: str
) -> None:
    path = tmp_path / "patients.parquet"
    pq.write_table(pa.table({**{name: [1] for name in ORIGINAL_NAMES}, **columns}), path)
    with pytest.raises(SourceError, match=message) as refused:
        read(path)
    assert chained_errors(refused.value) == []


def test_the_column_of_a_later_field_is_null_if_absent(tmp_path: Path) -> None:
    path = tmp_path / "patients.parquet"
    pq.write_table(pa.table({name: [1] for name in ORIGINAL_NAMES}), path)
    rows = pa.Table.from_batches(read_as_text(path, "patients", [*FIELDS, WEIGHT])).to_pylist()
    expected = dict.fromkeys([*FIELD_NAMES, "weight"]) | dict.fromkeys(ORIGINAL_NAMES, "1")
    assert rows == [expected]


def test_the_outcome_is_null_if_its_column_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "patients.parquet"
    pq.write_table(pa.table({name: [1] for name in ORIGINAL_NAMES[:8]}), path)
    (row,) = read(path)
    assert row == [*["1"] * 8, None]


def test_rejects_a_file_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "patients.parquet"
    pq.write_table(pa.table({name: pa.array([], pa.string()) for name in FIELD_NAMES}), path)
    with pytest.raises(SourceError, match="row 1: no rows"):
        read(path)


@pytest.mark.parametrize("content", [b"PAR1 but nothing else", b"PAR1" + b"\x15" * 40 + b"PAR1"])
def test_rejects_a_file_without_a_footer(save: Save, content: bytes) -> None:
    with pytest.raises(SourceError, match="a damaged Parquet file; allowed: ") as refused:
        read(save(content))
    assert chained_errors(refused.value) == []


def test_rejects_a_damaged_page(parquet: Path) -> None:
    offset = pq.ParquetFile(parquet).metadata.row_group(1).column(4).data_page_offset
    content = bytearray(parquet.read_bytes())
    content[offset : offset + 64] = b"\xff" * 64
    parquet.write_bytes(content)

    with pytest.raises(SourceError, match=r"row 65537 or later: damaged data") as refused:
        read(parquet)
    assert chained_errors(refused.value) == []


def test_rejects_a_truncated_file_with_a_footer(parquet: Path) -> None:
    content = parquet.read_bytes()
    footer = pq.ParquetFile(parquet).metadata.serialized_size + 8
    parquet.write_bytes(content[: len(content) // 4] + content[-footer:])

    with pytest.raises(SourceError, match=r"damaged data; allowed: the 200000 rows") as refused:
        read(parquet)
    assert chained_errors(refused.value) == []


def test_rejects_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "patients.parquet"
    broken = pa.array([b"caf\xe9"]).view(pa.string())
    pq.write_table(pa.table(dict.fromkeys(FIELD_NAMES, broken)), path)
    with pytest.raises(SourceError, match="row 1 or later: damaged data"):
        read(path)
