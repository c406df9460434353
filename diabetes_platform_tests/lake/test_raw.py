"""The raw table: append-only, as received, each content once, whoever writes beside us."""

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from diabetes_platform.contract.fields import FIELD_NAMES
from diabetes_platform.contract.tables import RAW_PATIENTS
from diabetes_platform.lake.delta import LakeError
from diabetes_platform.lake.raw import RawBatch, ingest
from diabetes_platform.lake.sources import SourceError
from diabetes_platform.lake.tables import Lake
from diabetes_platform.settings import PIMA_CSV

HEADER = ",".join(FIELD_NAMES)


def table(lake: Lake) -> DeltaTable:
    return lake.table(RAW_PATIENTS).open()


def test_each_value_is_kept_as_received_with_its_origin(lake: Lake, tmp_path: Path) -> None:
    source = tmp_path / "patients.csv"
    values = [" 6 ", "0148", "abc", "", "0", "33.60", ".627", "5e1", ""]
    source.write_text(f"{HEADER}\n{','.join(values)}\n")

    batch = ingest(lake, str(source))

    (row,) = table(lake).to_pyarrow_table().to_pylist()
    assert [row[name] for name in FIELD_NAMES] == [
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

    again = ingest(lake, str(copy))

    assert (first.added, first.rows, first.delta_version) == (True, 768, 1)
    assert (again.added, again.rows, again.delta_version) == (False, 768, 1)
    assert again.batch_id == first.batch_id


def test_versions_only_grow_and_old_ones_can_be_read(lake: Lake, tmp_path: Path) -> None:
    ingest(lake, str(PIMA_CSV))
    source = tmp_path / "more.csv"
    source.write_text(f"{HEADER}\n1,2,3,4,5,6,7,8,1\n")
    assert ingest(lake, str(source)).delta_version == 2

    assert table(lake).to_pyarrow_table().num_rows == 769
    assert lake.table(RAW_PATIENTS).open(1).to_pyarrow_table().num_rows == 768
    with pytest.raises(DeltaError, match="append"):
        table(lake).delete("source_line = 2")


@pytest.mark.parametrize("content", ["", f"{HEADER}\n", f"{HEADER}\n1,2,3\n", "a,b\n1,2\n"])
def test_a_refused_file_writes_no_version(lake: Lake, tmp_path: Path, content: str) -> None:
    source = tmp_path / "bad.csv"
    source.write_text(content)

    with pytest.raises(SourceError, match="allowed"):
        ingest(lake, str(source))
    with pytest.raises(LakeError, match="raw/patients: no Delta table"):
        table(lake)


def test_a_path_that_does_not_exist_is_refused(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="given a path that does not exist"):
        ingest(lake, str(tmp_path / "absent.csv"))
    with pytest.raises(SourceError, match="given a directory"):
        ingest(lake, str(tmp_path))


def ingest_in_process(root: str, source: str) -> RawBatch:
    return ingest(Lake(root), source)


def test_processes_that_write_at_once_lose_nothing_and_double_nothing(
    lake: Lake, tmp_path: Path
) -> None:
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


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_writes_no_version(tmp_path: Path) -> None:
    """In a mount namespace of its own, so that nothing is left mounted whatever happens."""
    mount = tmp_path / "small"
    mount.mkdir()
    script = (
        "import sys; from diabetes_platform.lake.raw import ingest;"
        "from diabetes_platform.lake.tables import Lake;"
        "lake = Lake(sys.argv[1]); big = sys.argv[2]\n"
        "try: ingest(lake, big)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "print(ingest(lake, sys.argv[3]).delta_version)"
    )
    big, small = tmp_path / "big.csv", tmp_path / "small.csv"
    big.write_text(
        f"{HEADER}\n" + "".join(f"{n},{n},{n},{n},{n},{n},{n},{n},1\n" for n in range(300_000))
    )
    small.write_text(f"{HEADER}\n1,2,3,4,5,6,7,8,1\n")
    command = 'mount -t tmpfs -o size=512k tmpfs "$1" && exec "$2" -c "$3" "$1/lake" "$4" "$5"'
    result = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            command,
            "sh",
            mount,
            sys.executable,
            script,
            big,
            small,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    error, version = result.stdout.strip().splitlines()[-2:]
    assert "No space left on device" in error
    assert version == "1"
