"""Quality counts of the stream's tables: changes, dead letters and windows since a time.

Records that Flink repeated after a failure count once. No patient value is read.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from diabetes_platform.contract.tables import (
    STREAM_PATIENTS,
    STREAM_REJECTED,
    STREAM_WINDOWS,
    TOPIC_PARTITION_OFFSET,
    Table,
)
from diabetes_platform.contract.topics import WINDOW_KEYS
from diabetes_platform.lake.delta import Lake

_SOURCE = ("source_topic", "source_partition", "source_offset")
_POSITION = tuple(column.name for column in TOPIC_PARTITION_OFFSET)
_REJECTION_COLUMNS = ("reasons", *_SOURCE, *_POSITION)
_WINDOW_COLUMNS = ("window_start", "written_at", *WINDOW_KEYS.counts)
_REASON = re.compile(r"[a-z_.]{1,60}:[a-z_]{1,40}")
OTHER = "other"
"""Replaces a reason that is not of the form `field:code`, because it may contain values."""


@dataclass(frozen=True, slots=True)
class Rejections:
    """Dead letters, distinct rejected records, and the number of records by reason."""

    letters: int
    records: int
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class WindowSums:
    """The number of windows and the sums of their counts."""

    windows: int
    events: int
    accepted: int
    deleted: int
    rejected: int
    late: int


def changes_since(lake: Lake, since: datetime) -> int:
    """Count the accepted changes since then; 0 without a table."""
    return int(_since(lake, STREAM_PATIENTS, ("written_at",), since).num_rows)


def rejections_since(lake: Lake, since: datetime) -> Rejections:
    """Count the rejections since then; 0 without a table."""
    return rejections_in(_since(lake, STREAM_REJECTED, _REJECTION_COLUMNS, since))


def rejections_of_day(lake: Lake, day: str) -> Rejections:
    """Count the rejections of a day (UTC)."""
    letters = lake.stream(STREAM_REJECTED, _REJECTION_COLUMNS, {"day": day})
    return rejections_in(letters.read_all())


def rejections_in(letters: pa.Table) -> Rejections:
    """Count rows of STREAM_REJECTED; a record is identified by its original's offset or its own."""
    reasons_by_record: dict[tuple[object, ...], set[str]] = {}
    for row in letters.to_pylist():
        source = tuple(row[name] for name in _SOURCE)
        record = tuple(row[name] for name in _POSITION) if None in source else source
        reasons = {reason if _REASON.fullmatch(reason) else OTHER for reason in row["reasons"]}
        reasons_by_record.setdefault(record, set()).update(reasons)
    counts = Counter(reason for reasons in reasons_by_record.values() for reason in reasons)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Rejections(letters.num_rows, len(reasons_by_record), dict(ordered))


def windows_since(lake: Lake, since: datetime) -> WindowSums:
    """Sum the windows written since then; 0 without a table."""
    return sums_of(_since(lake, STREAM_WINDOWS, _WINDOW_COLUMNS, since))


def windows_of_day(lake: Lake, day: str) -> WindowSums:
    """Sum the windows written on a day (UTC)."""
    return sums_of(lake.stream(STREAM_WINDOWS, _WINDOW_COLUMNS, {"day": day}).read_all())


def sums_of(windows: pa.Table) -> WindowSums:
    """Sum rows of STREAM_WINDOWS; a repeated window counts with its last row."""
    newest: dict[object, dict[str, Any]] = {
        row["window_start"]: row for row in windows.sort_by("written_at").to_pylist()
    }
    sums = {name: sum(row[name] for row in newest.values()) for name in WINDOW_KEYS.counts}
    return WindowSums(windows=len(newest), **sums)


def _since(lake: Lake, table: Table, columns: Sequence[str], since: datetime) -> pa.Table:
    """Return columns of the rows written at `since` or later."""
    recent = pc.field("written_at") >= pa.scalar(since, pa.timestamp("us", "UTC"))
    return lake.days_since(table, since, columns, recent)
