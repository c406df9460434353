"""What the history of `stream/patients` knows of a day."""

from datetime import UTC, datetime
from typing import Any

from diabetes_platform.lake.stream_history import DayHistory, day_history

DAY = "2026-11-24"
NOON_MS = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp() * 1000)
DAY_MS = 86_400_000


def merge(version: int, rows: int, day: str = DAY, **more: str) -> dict[str, Any]:
    metrics = {"num_target_rows_inserted": rows}
    told = {"day": day, "operationMetrics": metrics, **more}
    return {"version": version, "operation": "MERGE", "timestamp": NOON_MS, **told}


def commit(version: int, operation: str, **parameters: str) -> dict[str, Any]:
    told = {"operationParameters": parameters}
    return {"version": version, "operation": operation, "timestamp": NOON_MS, **told}


CREATED = commit(0, "CREATE TABLE")


def test_increments_of_the_day_are_summed_and_rebuilds_are_not() -> None:
    commits = [merge(3, 9, rebuilt="true"), merge(2, 5), merge(1, 7, "2026-11-23"), CREATED]
    assert day_history(commits, DAY) == DayHistory(5, (), whole=True)


def test_what_only_moves_offsets_or_files_takes_no_row_away() -> None:
    commits = [commit(3, "OPTIMIZE"), commit(2, "WRITE", mode="Append"), merge(1, 5), CREATED]
    assert day_history(commits, DAY).versions_before_removal == ()


def test_the_versions_before_a_removal_are_named() -> None:
    commits = [
        commit(5, "RESTORE"),
        commit(3, "WRITE", mode="Overwrite"),
        commit(2, "DELETE"),
        merge(1, 5),
        CREATED,
    ]
    assert day_history(commits, DAY).versions_before_removal == (1, 2, 4)


def test_a_history_that_was_cut_off_says_so() -> None:
    assert not day_history([merge(8, 5), merge(7, 1)], DAY).whole
    assert not day_history([], DAY).whole


def test_a_history_from_before_the_day_has_all_of_it() -> None:
    of_before = merge(7, 1, "2026-11-23") | {"timestamp": NOON_MS - DAY_MS}
    assert day_history([merge(8, 5), of_before], DAY) == DayHistory(5, (), whole=True)
