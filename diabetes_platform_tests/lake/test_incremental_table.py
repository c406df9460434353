"""Ingested Delta tables: every change once, offsets in the same commit, constant cost."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from deltalake.exceptions import CommitFailedError

from diabetes_platform.contract.tables import STREAM_PATIENTS, Column
from diabetes_platform.lake.delta import Lake, LakeError
from diabetes_platform.lake.incremental_table import (
    MAX_SMALL_FILES,
    DayHistory,
    IncrementalTable,
    OffsetCommit,
    OffsetRange,
    day_history,
)
from diabetes_platform.streaming.rows import PATIENTS, Row, TopicTable
from diabetes_platform_tests.samples import EXAMPLE

DAY = date(2026, 11, 24).isoformat()
PREVIOUS_DAY = "2026-11-23"
NOON_MS = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp() * 1000)
DAY_MS = 86_400_000


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def table(lake: Lake) -> IncrementalTable:
    return open_table(lake)


def open_table(lake: Lake) -> IncrementalTable:
    return IncrementalTable.open_or_create(lake, STREAM_PATIENTS)


def change(intake_id: int, lsn: int | None, offset: int, partition: int = 0) -> Row:
    """The row of a message; without `lsn` that of a deletion."""
    suffix = f"deleted-id-{partition}-{offset}" if lsn is None else lsn
    image = {"received_at": datetime.now(UTC), **EXAMPLE} if lsn is not None else {}
    return {
        "change_id": f"{intake_id}-{suffix}",
        "day": DAY,
        "id": intake_id,
        "op": "c" if lsn is not None else "d",
        "lsn": lsn,
        "topic_id": "id",
        "kafka_partition": partition,
        "kafka_offset": offset,
        "written_at": datetime.now(UTC),
        **image,
    }


def offsets(first: int, last: int, partition: int = 0, *, advances: bool = True) -> OffsetCommit:
    ranges = (OffsetRange(partition, first, last),)
    return OffsetCommit("sink", "id", DAY, ranges, advances)


def append(table: IncrementalTable, rows: Sequence[Row], commit: OffsetCommit) -> int:
    return table.append(PATIENTS.to_arrow(rows), commit)


def change_ids(lake: Lake) -> list[str]:
    rows = lake.stream(STREAM_PATIENTS, ("change_id",), {}).read_all()
    return sorted(rows["change_id"].to_pylist())


@pytest.mark.parametrize("text", ["", "0:5", "0:9-5", "a:1-2", "0:1-2,1:1-2", "-1:0-3"])
def test_rejects_a_text_that_is_no_offset_range(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: <partition>:<first>-<last>"):
        OffsetRange.parse(text)


def test_an_offset_range_survives_a_round_trip_through_text() -> None:
    assert OffsetRange.parse(str(OffsetRange(3, 7, 9))) == OffsetRange(3, 7, 9)


def test_a_table_that_does_not_exist_is_not_found(lake: Lake) -> None:
    assert IncrementalTable.find(lake, STREAM_PATIENTS) is None


def test_a_commit_records_its_offsets(lake: Lake, table: IncrementalTable) -> None:
    assert table.committed_offsets("sink", "id", [0, 1]) == {}
    append(table, [change(1, 10, 4), change(2, 11, 5)], offsets(4, 5))
    append(table, [change(3, 12, 0, 1)], offsets(0, 3, 1))
    reopened = open_table(lake)
    assert reopened.committed_offsets("sink", "id", [0, 1, 2]) == {0: 5, 1: 3}
    assert reopened.committed_offsets("sink", "id of a recreated topic", [0, 1]) == {}


def test_names_of_transactions_and_commit_metadata_are_those_of_older_versions(
    table: IncrementalTable,
) -> None:
    append(table, [change(3, 12, 0, 1)], offsets(0, 3, 1))
    assert table.delta.transaction_version("sink/id/1") == 3
    latest = table.delta.history(1)[0]
    assert {name: latest[name] for name in ("topic", "topic_id", "day", "offsets")} == {
        "topic": "sink",
        "topic_id": "id",
        "day": DAY,
        "offsets": "1:0-3",
    }


def test_a_start_offset_is_committed_without_a_row(table: IncrementalTable) -> None:
    table.commit_offsets("sink", "id", {0: -1, 1: 6})
    assert table.committed_offsets("sink", "id", [0, 1, 2]) == {0: -1, 1: 6}
    assert table.count_rows(DAY) == 0


def test_appending_a_range_twice_adds_nothing(lake: Lake, table: IncrementalTable) -> None:
    rows = [change(1, 10, 0), change(2, 11, 1), change(1, None, 2)]
    assert append(table, rows, offsets(0, 2)) == 3
    assert append(table, rows, offsets(0, 2)) == 0
    assert change_ids(lake) == ["1-10", "1-deleted-id-0-2", "2-11"]


def test_a_change_that_flink_writes_again_at_another_offset_is_added_once(
    lake: Lake, table: IncrementalTable
) -> None:
    append(table, [change(1, 10, 0), change(1, 12, 1)], offsets(0, 1))
    repeated = [change(1, 10, 2), change(1, 12, 3), change(1, 13, 4)]
    assert append(table, repeated, offsets(2, 4)) == 1
    assert change_ids(lake) == ["1-10", "1-12", "1-13"]
    assert table.committed_offsets("sink", "id", [0]) == {0: 4}


def test_deletions_and_empty_ranges_advance_the_offset(table: IncrementalTable) -> None:
    append(table, [change(1, None, 0), change(2, None, 1)], offsets(0, 1))
    append(table, [], offsets(2, 9))
    assert table.committed_offsets("sink", "id", [0]) == {0: 9}
    assert table.count_rows(DAY) == 2
    assert table.count_rows(PREVIOUS_DAY) == 0


def test_a_commit_that_does_not_advance_leaves_the_offset(table: IncrementalTable) -> None:
    append(table, [change(1, 10, 0)], offsets(0, 0))
    assert append(table, [change(1, 11, 7)], offsets(7, 7, advances=False)) == 1
    assert table.committed_offsets("sink", "id", [0]) == {0: 0}


def test_an_open_table_has_the_version_that_holds_the_rows(
    lake: Lake, table: IncrementalTable
) -> None:
    for rows, commit in (([change(1, 10, 0)], offsets(0, 0)), ([], offsets(1, 1))):
        append(table, rows, commit)
        assert table.version == lake.table(STREAM_PATIENTS).version()


def test_reads_only_files_that_may_hold_a_change(table: IncrementalTable) -> None:
    for n in range(10):
        rows = [change(n % 7, 100 + n, 2 * n), change(n % 5, None, 2 * n + 1)]
        append(table, rows, offsets(0, n))
    (latest,) = table.delta.history(1)
    assert latest["operationMetrics"]["num_target_files_scanned"] == 0
    assert latest["operationMetrics"]["num_target_files_skipped_during_scan"] == 9


def test_of_two_concurrent_commits_one_is_refused(lake: Lake, table: IncrementalTable) -> None:
    stale = open_table(lake)
    append(table, [change(1, 10, 0)], offsets(0, 0))
    with pytest.raises(CommitFailedError):
        append(stale, [change(1, 10, 0)], offsets(0, 0))
    assert change_ids(lake) == ["1-10"]


def test_eight_threads_that_create_the_table_all_succeed(tmp_path: Path) -> None:
    for number in range(10):
        lake = Lake(str(tmp_path / str(number)))
        with ThreadPoolExecutor(8) as pool:
            tables = list(pool.map(lambda _, lake=lake: open_table(lake), range(8)))
        assert [table.count_rows(DAY) for table in tables] == [0] * 8


def test_compacts_many_small_files_and_changes_nothing_else(
    lake: Lake, table: IncrementalTable
) -> None:
    appends = 2 * MAX_SMALL_FILES + 2
    for n in range(appends):
        append(table, [change(n, 100 + n, n)], offsets(n, n))
    assert len(table.delta.file_uris()) <= MAX_SMALL_FILES
    assert table.count_rows(DAY) == appends
    assert open_table(lake).committed_offsets("sink", "id", [0]) == {0: appends - 1}
    assert append(table, [change(3, 103, 3)], offsets(3, 3, advances=False)) == 0
    operations = [commit["operation"] for commit in table.delta.history()]
    assert operations.count("OPTIMIZE") == 2


def test_a_column_that_is_new_in_the_contract_is_added_to_the_table(
    lake: Lake, table: IncrementalTable
) -> None:
    append(table, [change(1, 10, 0)], offsets(0, 0))
    columns = (*STREAM_PATIENTS.columns, Column("waist", "number", True, "Waist, cm."))
    extended = TopicTable(replace(STREAM_PATIENTS, columns=columns), PATIENTS.row_of)
    rows = extended.to_arrow([{**change(2, 11, 1), "waist": 80.0}])
    IncrementalTable.open_or_create(lake, extended.contract).append(rows, offsets(1, 1))
    values = lake.stream(extended.contract, ("id", "waist"), {}).read_all().to_pylist()
    assert sorted(values, key=lambda row: row["id"]) == [
        {"id": 1, "waist": None},
        {"id": 2, "waist": 80.0},
    ]
    with pytest.raises(LakeError, match="waist is not in the contract"):
        open_table(lake)


@pytest.fixture
def older_lake(tmp_path: Path) -> Lake:
    """A lake that commit cf2b268 wrote: offsets 0 to 2 and 0 of two partitions, then a deleted row
    and its rebuild.
    """
    shutil.copytree(Path(__file__).parent / "lake_of_2026_11", tmp_path / "lake")
    return Lake(str(tmp_path / "lake"))


def test_continues_a_table_that_an_older_version_wrote(older_lake: Lake) -> None:
    table = open_table(older_lake)
    assert table.committed_offsets("sink", "id", [0, 1, 2]) == {0: 2, 1: 0}
    assert table.count_rows(DAY) == 4
    assert table.history_of(DAY) == DayHistory(4, (2,), complete=True)
    assert append(table, [change(2, 11, 1), change(4, 13, 3)], offsets(1, 3)) == 1
    assert table.committed_offsets("sink", "id", [0]) == {0: 3}
    assert change_ids(older_lake) == ["1-10", "2-11", "2-deleted-id-0-2", "3-12", "4-13"]


def merge(version: int, rows: int, day: str = DAY, **metadata: str) -> dict[str, Any]:
    metrics = {"num_target_rows_inserted": rows}
    return {
        "version": version,
        "operation": "MERGE",
        "timestamp": NOON_MS,
        "day": day,
        "operationMetrics": metrics,
        **metadata,
    }


def commit(version: int, operation: str, **parameters: str) -> dict[str, Any]:
    return {
        "version": version,
        "operation": operation,
        "timestamp": NOON_MS,
        "operationParameters": parameters,
    }


CREATED = commit(0, "CREATE TABLE")


def test_the_history_of_a_day_counts_ingested_rows_and_not_rebuilt_ones() -> None:
    commits = [merge(3, 9, rebuilt="true"), merge(2, 5), merge(1, 7, PREVIOUS_DAY), CREATED]
    assert day_history(commits, DAY) == DayHistory(5, (), complete=True)


def test_compaction_and_commits_of_offsets_remove_no_row() -> None:
    commits = [commit(3, "OPTIMIZE"), commit(2, "WRITE", mode="Append"), merge(1, 5), CREATED]
    assert day_history(commits, DAY).versions_before_removal == ()


def test_the_history_names_the_versions_before_each_removal() -> None:
    commits = [
        commit(5, "RESTORE"),
        commit(3, "WRITE", mode="Overwrite"),
        commit(2, "DELETE"),
        merge(1, 5),
        CREATED,
    ]
    assert day_history(commits, DAY).versions_before_removal == (1, 2, 4)


def test_a_truncated_history_is_incomplete() -> None:
    assert not day_history([merge(8, 5), merge(7, 1)], DAY).complete
    assert not day_history([], DAY).complete


def test_a_history_that_starts_before_the_day_is_complete() -> None:
    earlier = merge(7, 1, PREVIOUS_DAY) | {"timestamp": NOON_MS - DAY_MS}
    assert day_history([merge(8, 5), earlier], DAY) == DayHistory(5, (), complete=True)
