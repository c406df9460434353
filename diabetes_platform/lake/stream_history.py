"""What the history of a table of the stream knows of a day: rows added, and rows removed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from diabetes_platform.contract.tables import STREAM_PATIENTS, Table
from diabetes_platform.lake.delta import MAINTENANCE, Lake

_KEEPING = MAINTENANCE | {"CREATE TABLE", "MERGE"}
"""Operations that take no row away: the merges of these tables only add."""


@dataclass(frozen=True, slots=True)
class DayHistory:
    """Rows of the day that its increments added, and the versions before each that took rows away.

    `whole` where the history goes back to the table's first version, or to before the day.
    """

    added: int
    versions_before_removal: tuple[int, ...]
    whole: bool


def day_history(commits: Iterable[Mapping[str, Any]], day: str) -> DayHistory:
    """Return what `commits`, as deltalake gives a table's history, say of `day`."""
    added, before, whole = 0, [], False
    began_ms = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000
    for commit in commits:
        version = int(commit["version"])
        whole = whole or version == 0 or int(commit["timestamp"]) < began_ms
        operation = commit.get("operation")
        if operation == "MERGE" and commit.get("day") == day and commit.get("rebuilt") is None:
            metrics = commit.get("operationMetrics", {})
            added += int(metrics.get("num_target_rows_inserted", 0))
        if version > 0 and operation not in _KEEPING and not _appends(commit):
            before.append(version - 1)
    return DayHistory(added, tuple(sorted(before)), whole=whole)


def _appends(commit: Mapping[str, Any]) -> bool:
    mode = commit.get("operationParameters", {}).get("mode")
    return commit.get("operation") == "WRITE" and mode == "Append"


def history_of_day(lake: Lake, day: str, table: Table = STREAM_PATIENTS) -> DayHistory:
    """Return what the table's history knows of `day`; LakeError where there is no table."""
    target = lake.table(table)
    with lake.s3.errors(target.path):
        return day_history(target.open().history(), day)
