"""The raw table: append-only, as received, each content once, whoever writes beside us."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from diabetes_platform.contract.fields import FIELD_NAMES
from diabetes_platform.contract.tables import RAW_PATIENTS
from diabetes_platform.lake import raw
from diabetes_platform.lake.delta import Lake, LakeError
from diabetes_platform.lake.raw import RawBatch, ingest
from diabetes_platform.lake.source_files import SourceError, read_as_text
from diabetes_platform.settings import PIMA_CSV
from diabetes_platform_tests.lake.conftest import Save, chained_errors
from diabetes_platform_tests.samples import CSV_HEADER, ORIGINAL_NAMES

HEADER = CSV_HEADER
ROW = "6,148,72,35,0,33.6,0.627,50,1"


def table(lake: Lake) -> DeltaTable:
    return lake.table(RAW_PATIENTS).open()


def test_keeps_values_as_received_with_their_origin(lake: Lake, tmp_path: Path) -> None:
    source = tmp_path / "patients.csv"
    values = [" 6 ", "0148", "abc", "", "0", "33.60", ".627", "5e1", ""]
    source.write_text(f"{HEADER}\n{','.join(values)}\n")

    batch = ingest(lake, str(source))

    (row,) = table(lake).to_pyarrow_table().to_pylist()
    assert [row[name] for name in ORIGINAL_NAMES] == [
        " 6 ",
        "0148",
        "abc",
        "",
        "0",
        "33.60",
        ".627",
        "5e1",
        "",
    ]
    assert row["source_line"] == 2
    assert row["source"] == str(source)
    assert row["content_hash"] == batch.content_hash
    assert row["received_at"].tzinfo is not None


def test_the_same_content_adds_no_version(lake: Lake, tmp_path: Path) -> None:
    first = ingest(lake, str(PIMA_CSV))
    copy = tmp_path / "renamed.csv"
    copy.write_bytes(PIMA_CSV.read_bytes())

    second = ingest(lake, str(copy))

    assert (first.added, first.rows, first.delta_version) == (True, 768, 1)
    assert (second.added, second.rows, second.delta_version) == (False, 768, 1)
    assert second.batch_id == first.batch_id


def test_the_table_is_append_only_and_old_versions_are_readable(lake: Lake, tmp_path: Path) -> None:
    ingest(lake, str(PIMA_CSV))
    source = tmp_path / "more.csv"
    source.write_text(f"{HEADER}\n1,2,3,4,5,6,7,8,1\n")
    assert ingest(lake, str(source)).delta_version == 2

    assert table(lake).to_pyarrow_table().num_rows == 769
    assert lake.table(RAW_PATIENTS).open(1).to_pyarrow_table().num_rows == 768
    with pytest.raises(DeltaError, match="append"):
        table(lake).delete("source_line = 2")


def test_appends_to_a_table_with_another_column_description(lake: Lake) -> None:
    source_line, *columns = RAW_PATIENTS.columns
    column = dataclasses.replace(source_line, description="As it was described before.")
    older = dataclasses.replace(RAW_PATIENTS, columns=(column, *columns))
    lake.table(older).create(older, partition_by="content_hash")

    assert ingest(lake, str(PIMA_CSV)).rows == 768


@pytest.mark.parametrize("content", ["", f"{HEADER}\n", f"{HEADER}\n1,2,3\n", "a,b\n1,2\n"])
def test_an_invalid_file_writes_no_version(lake: Lake, tmp_path: Path, content: str) -> None:
    source = tmp_path / "bad.csv"
    source.write_text(content)

    with pytest.raises(SourceError, match="allowed"):
        ingest(lake, str(source))
    with pytest.raises(LakeError, match="raw/patients: no Delta table"):
        table(lake)


BAD_LAST_LINES = {
    "too wide": f"{ROW},{ROW}\n",
    "quoted break": f'"6\n",{ROW}\n',
    "blank": f"\n{ROW}\n",
    "carriage return": f"{ROW}\r{ROW}\n",
    "not UTF-8": b"\xff\n",
}


@pytest.mark.parametrize("last_line", BAD_LAST_LINES.values(), ids=BAD_LAST_LINES)
@pytest.mark.parametrize("lake_exists", [False, True], ids=["fresh lake", "existing lake"])
def test_no_chained_error_contains_a_row(
    lake: Lake, save: Save, last_line: str | bytes, lake_exists: bool
) -> None:
    """Dagster logs a failure with every error that it was raised from or during."""
    if lake_exists:
        ingest(lake, str(PIMA_CSV))
    last = last_line if isinstance(last_line, bytes) else last_line.encode()
    source = save(f"{HEADER}\n{ROW}\n".encode() + last)

    with pytest.raises(SourceError, match=r"line 3, column .*; allowed: ") as refused:
        ingest(lake, str(source))

    assert chained_errors(refused.value) == []
    assert "148" not in str(refused.value)
    assert lake.table(RAW_PATIENTS).exists() is lake_exists


def test_a_row_has_its_line_in_the_file(lake: Lake, save: Save) -> None:
    lines = [HEADER, *(ROW.replace("6", str(n), 1) for n in range(2, 200_002))]
    ingest(lake, str(save("\r\n".join(lines) + "\r\n\r\n")))

    rows = table(lake).to_pyarrow_table(columns=["source_line", "pregnancies"])
    assert sorted(rows["source_line"].to_pylist()) == list(range(2, 200_002))
    assert all(row["pregnancies"] == str(row["source_line"]) for row in rows.to_pylist())


def test_the_first_row_of_a_parquet_file_counts_as_line_2(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "patients.parquet"
    pq.write_table(pa.table({name: [0, 1, 2] for name in FIELD_NAMES}), path)
    ingest(lake, str(path))

    rows = table(lake).to_pyarrow_table().to_pylist()
    assert {row["age"]: row["source_line"] for row in rows} == {"0": 2, "1": 3, "2": 4}


@pytest.mark.parametrize("lake_exists", [False, True], ids=["fresh lake", "existing lake"])
@pytest.mark.parametrize(
    "late", [f"{ROW}\n", "6,14"], ids=["a row more", "a row that is not yet complete"]
)
def test_a_file_that_changes_while_reading_adds_no_version(
    lake: Lake, save: Save, monkeypatch: pytest.MonkeyPatch, late: str, lake_exists: bool
) -> None:
    if lake_exists:
        ingest(lake, str(PIMA_CSV))
    source = save(f"{HEADER}\n" + f"{ROW}\n" * 400_000)

    def read_while_written(path: Path, name: str) -> Iterator[pa.RecordBatch]:
        with path.open("a") as file:
            file.write(late)
        yield from read_as_text(path, name)

    monkeypatch.setattr(raw, "read_as_text", read_while_written)
    with pytest.raises(SourceError, match="changed while it was read") as refused:
        ingest(lake, str(source))

    assert chained_errors(refused.value) == []
    assert lake.table(RAW_PATIENTS).exists() is lake_exists
    if lake_exists:
        assert table(lake).version() == 1


def ingest_in_process(root: str, source: str) -> RawBatch:
    return ingest(Lake(root), source)


@pytest.mark.slow
def test_concurrent_processes_lose_and_duplicate_no_rows(lake: Lake, tmp_path: Path) -> None:
    """Four processes bring four contents each, every content is brought by two of them."""
    sources = []
    for n in range(8):
        source = tmp_path / f"{n}.csv"
        source.write_text(f"{HEADER}\n" + f"{n},2,3,4,5,6,7,8,1\n" * (n + 1))
        sources.append(str(source))
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        batches = list(pool.map(ingest_in_process, [lake.root] * 16, sources * 2))

    assert {batch.rows for batch in batches} == set(range(1, 9))
    assert sum(batch.added for batch in batches) == 8
    assert table(lake).to_pyarrow_table().num_rows == sum(range(1, 9))


INGEST_TWO = """
import sys
from diabetes_platform.lake.raw import ingest
from diabetes_platform.lake.delta import Lake
lake = Lake(sys.argv[1])
try:
    ingest(lake, sys.argv[2])
except Exception as error:
    print(type(error).__name__, error)
print(ingest(lake, sys.argv[3]).delta_version)
"""
ON_A_SMALL_DISK = """
mount -t tmpfs -o size=512k tmpfs "$1" && exec "$2" -c "$3" "$1/lake" "$4" "$5"
"""


def ingest_on_a_small_disk(mount: Path, *sources: Path) -> list[str]:
    """In a mount namespace of its own, so that nothing is left mounted whatever happens."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK, "sh"]
    result = subprocess.run(
        [*command, mount, sys.executable, INGEST_TWO, *sources],
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip().splitlines()


def test_a_full_disk_writes_no_version(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    big, small = tmp_path / "big.csv", tmp_path / "small.csv"
    big.write_text(
        f"{HEADER}\n" + "".join(f"{n},{n},{n},{n},{n},{n},{n},{n},1\n" for n in range(300_000))
    )
    small.write_text(f"{HEADER}\n1,2,3,4,5,6,7,8,1\n")
    error, version = ingest_on_a_small_disk(mount, big, small)[-2:]
    assert "No space left on device" in error
    assert version == "1"
