"""Increments in a real Delta table: each change once, offsets in the commit, cost that stays."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from deltalake.exceptions import CommitFailedError

from diabetes_platform.contract.tables import STREAM_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.increments import (
    MOST_SMALL_FILES,
    Mark,
    add,
    committed_offsets,
    count_rows,
    create_table,
)
from diabetes_platform.streaming.destinations import PATIENTS
from diabetes_platform.streaming.messages import Row
from diabetes_platform_tests.streaming.sink import EXAMPLE

DAY = date(2026, 11, 24)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = Lake(str(tmp_path / "lake"))
    create_table(made)
    return made


def change(intake_id: int, lsn: int | None, offset: int, partition: int = 0) -> Row:
    """A row as a message gives it; without `lsn` a deletion."""
    place = f"deleted-id-{partition}-{offset}" if lsn is None else lsn
    image = {"received_at": datetime.now(UTC), **EXAMPLE} if lsn is not None else {}
    return {
        "change_id": f"{intake_id}-{place}",
        "day": DAY.isoformat(),
        "id": intake_id,
        "op": "c" if lsn is not None else "d",
        "lsn": lsn,
        "topic_id": "id",
        "kafka_partition": partition,
        "kafka_offset": offset,
        "written_at": datetime.now(UTC),
        **image,
    }


def mark(first: int, last: int, partition: int = 0, *, advances: bool = True) -> Mark:
    return Mark("sink", "id", partition, first, last, DAY.isoformat(), advances)


def put(lake: Lake, rows: Sequence[Row], said: Mark) -> int:
    return add(lake, PATIENTS.table_of(rows), [said]).rows


def changes(lake: Lake) -> list[str]:
    rows = lake.stream(STREAM_PATIENTS, ("change_id",), {}).read_all()
    return sorted(rows["change_id"].to_pylist())


def test_a_commit_says_which_offsets_the_table_has(lake: Lake) -> None:
    assert committed_offsets(lake, "sink", "id", [0, 1]) == {}
    put(lake, [change(1, 10, 4), change(2, 11, 5)], mark(4, 5))
    put(lake, [change(3, 12, 0, 1)], mark(0, 3, 1))
    assert committed_offsets(lake, "sink", "id", [0, 1, 2]) == {0: 5, 1: 3}
    assert committed_offsets(lake, "sink", "anew", [0, 1]) == {}
    newest = lake.table(STREAM_PATIENTS).open().history(1)[0]
    said = {name: newest[name] for name in ("topic", "topic_id", "day", "offsets")}
    assert said == {
        "topic": "sink", "topic_id": "id", "day": DAY.isoformat(), "offsets": "1:0-3",
    }  # fmt: skip


def test_a_range_that_comes_again_adds_nothing(lake: Lake) -> None:
    rows = [change(1, 10, 0), change(2, 11, 1), change(1, None, 2)]
    assert put(lake, rows, mark(0, 2)) == 3
    assert put(lake, rows, mark(0, 2)) == 0
    assert changes(lake) == ["1-10", "1-deleted-id-0-2", "2-11"]


def test_what_flink_writes_again_elsewhere_is_the_same_change(lake: Lake) -> None:
    put(lake, [change(1, 10, 0), change(1, 12, 1)], mark(0, 1))
    again = [change(1, 10, 2), change(1, 12, 3), change(1, 13, 4)]
    assert put(lake, again, mark(2, 4)) == 1
    assert changes(lake) == ["1-10", "1-12", "1-13"]
    assert committed_offsets(lake, "sink", "id", [0]) == {0: 4}


def test_deletions_alone_and_nothing_at_all_move_the_offset_too(lake: Lake) -> None:
    put(lake, [change(1, None, 0), change(2, None, 1)], mark(0, 1))
    put(lake, [], mark(2, 9))
    assert committed_offsets(lake, "sink", "id", [0]) == {0: 9}
    assert count_rows(lake, DAY.isoformat()) == 2
    assert count_rows(lake, "2026-11-23") == 0


def test_a_rebuild_leaves_the_offsets_alone(lake: Lake) -> None:
    put(lake, [change(1, 10, 0)], mark(0, 0))
    assert put(lake, [change(1, 11, 7)], mark(7, 7, advances=False)) == 1
    assert committed_offsets(lake, "sink", "id", [0]) == {0: 0}


def test_the_version_is_the_one_with_the_rows(lake: Lake) -> None:
    for rows, said in (([change(1, 10, 0)], mark(0, 0)), ([], mark(1, 1))):
        assert (
            add(lake, PATIENTS.table_of(rows), [said]).version
            == lake.table(STREAM_PATIENTS).version()
        )


def test_only_files_that_may_hold_a_change_are_read(lake: Lake) -> None:
    for n in range(10):
        put(lake, [change(n % 7, 100 + n, 2 * n), change(n % 5, None, 2 * n + 1)], mark(0, n))
    (newest,) = lake.table(STREAM_PATIENTS).open().history(1)
    assert newest["operationMetrics"]["num_target_files_scanned"] == 0
    assert newest["operationMetrics"]["num_target_files_skipped_during_scan"] == 9


def test_of_two_that_bring_the_same_range_at_once_one_is_refused(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, target = PATIENTS.table_of([change(1, 10, 0)]), lake.table(STREAM_PATIENTS)
    stale = target.open()
    add(lake, rows, [mark(0, 0)])
    monkeypatch.setattr(type(target), "open", lambda _self, _version=None: stale)
    with pytest.raises(CommitFailedError):
        add(lake, rows, [mark(0, 0)])
    monkeypatch.undo()
    assert changes(lake) == ["1-10"]


def test_of_many_that_make_the_table_at_once_each_finds_it(tmp_path: Path) -> None:
    for number in range(10):
        lake = Lake(str(tmp_path / str(number)))
        with ThreadPoolExecutor(8) as pool:
            made = [pool.submit(create_table, lake) for _ in range(8)]
        assert [each.result() for each in made] == [None] * 8
        assert count_rows(lake, DAY.isoformat()) == 0


def test_small_files_are_made_one_in_time_and_nothing_else_changes(lake: Lake) -> None:
    increments = 2 * MOST_SMALL_FILES + 2
    for n in range(increments):
        put(lake, [change(n, 100 + n, n)], mark(n, n))
    table = lake.table(STREAM_PATIENTS).open()
    assert len(table.file_uris()) <= MOST_SMALL_FILES
    assert count_rows(lake, DAY.isoformat()) == increments
    assert committed_offsets(lake, "sink", "id", [0]) == {0: increments - 1}
    assert put(lake, [change(3, 103, 3)], mark(3, 3, advances=False)) == 0
    operations = [each["operation"] for each in table.history()]
    assert operations.count("OPTIMIZE") == 2
