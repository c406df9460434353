"""Maintenance of a table: fewer files, the same rows, history for as long as promised."""

import os
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from diabetes_platform.contract.tables import STATISTICS_PATIENTS, STREAM_PATIENTS
from diabetes_platform.lake.delta import (
    TIME_TRAVEL,
    Lake,
    MaintenanceResult,
    maintain,
    newest_commit,
)
from diabetes_platform_tests.lake.appending import append_rows

INCREMENTS = 5
DAY = "2026-03-02"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


def with_increments(lake: Lake) -> None:
    for number in range(INCREMENTS):
        row = {"change_id": f"{number}-{number}", "day": DAY, "id": number, "op": "c"}
        offset = {"topic_id": "t", "kafka_partition": 0, "kafka_offset": number}
        append_rows(lake, STREAM_PATIENTS, [row | offset | {"written_at": number}])


def test_compacts_small_files_and_changes_no_row(lake: Lake) -> None:
    with_increments(lake)
    table = lake.table(STREAM_PATIENTS)
    rows = table.open().to_pyarrow_table().sort_by("id")
    done = maintain(lake, STREAM_PATIENTS)
    assert done is not None
    assert (done.compacted, done.added, done.removed) == (INCREMENTS, 1, 0)
    assert len(table.open().file_uris()) == 1
    assert table.open().to_pyarrow_table().sort_by("id") == rows


def test_increments_continue_after_maintenance(lake: Lake) -> None:
    with_increments(lake)
    maintain(lake, STREAM_PATIENTS)
    with_increments(lake)
    assert lake.table(STREAM_PATIENTS).open().to_pyarrow_table().num_rows == INCREMENTS


def test_a_replaced_version_stays_readable(lake: Lake) -> None:
    table = lake.table(STATISTICS_PATIENTS)
    for count in (1, 2):
        write_deltalake(table.path, pa.table({"count": [count]}), mode="overwrite")
    newest = newest_commit(table)
    assert newest is not None
    assert newest.version == 1

    maintain(lake, STATISTICS_PATIENTS, TIME_TRAVEL)
    assert table.open(0).to_pyarrow_table()["count"].to_pylist() == [1]
    assert table.open().to_pyarrow_table()["count"].to_pylist() == [2]


def test_only_maintenance_removes_expired_logs(lake: Lake) -> None:
    with_increments(lake)
    table = lake.table(STREAM_PATIENTS)
    table.open().create_checkpoint()
    log = Path(table.path, "_delta_log")
    expired = sorted(log.glob("*.json"))[:INCREMENTS]
    for file in expired:
        expired_at = file.stat().st_mtime - (TIME_TRAVEL + timedelta(days=1)).total_seconds()
        os.utime(file, (expired_at, expired_at))

    with_increments(lake)
    assert all(file.exists() for file in expired)

    maintain(lake, STREAM_PATIENTS)
    assert not any(file.exists() for file in expired)
    assert table.open().to_pyarrow_table().num_rows == INCREMENTS


def test_the_newest_commit_ignores_maintenance(lake: Lake) -> None:
    table = lake.table(STATISTICS_PATIENTS)
    for mode in ("overwrite", "overwrite", "append"):
        write_deltalake(table.path, pa.table({"count": [1]}), mode=mode)
    table.open().optimize.compact()
    table.open().vacuum(0, dry_run=False, enforce_retention_duration=False)
    operations = [entry["operation"] for entry in table.open().history()]
    assert operations[:3] == ["VACUUM END", "VACUUM START", "OPTIMIZE"]
    newest = newest_commit(table)
    assert newest is not None
    assert (table.version(), newest.version) == (5, 2)


def test_rejects_a_retention_of_less_than_a_week(lake: Lake) -> None:
    with_increments(lake)
    with pytest.raises(Exception, match="retention"):
        maintain(lake, STREAM_PATIENTS, timedelta(days=1))


def test_does_nothing_without_a_table(lake: Lake) -> None:
    done: MaintenanceResult | None = maintain(lake, STREAM_PATIENTS)
    assert done is None
