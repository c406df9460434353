"""Rebuilding a day of a table, from Kafka or else from the table's history.

A rebuild only adds missing rows, so it neither loses nor duplicates a row. It fails unless it can
show that the day is complete afterwards.
"""

from dataclasses import dataclass
from datetime import date

from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.incremental_table import (
    DayHistory,
    IncrementalTable,
    OffsetCommit,
    OffsetRange,
)
from diabetes_platform.streaming.offsets import has_start_of_day, offsets_of_day, split
from diabetes_platform.streaming.rows import TopicTable
from diabetes_platform.streaming.topic import Topic


class DayLostError(RuntimeError):
    """Neither Kafka nor the table's history has the complete day."""


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """The source of the day (`kafka` or `history`), its rows, and the number of added rows."""

    source: str
    rows: int
    rows_added: int
    ranges: tuple[OffsetRange, ...]


def rebuild(
    lake: Lake, topic: Topic, topic_table: TopicTable, day: date, today: date
) -> RebuildResult:
    """Add the missing rows of a day.

    Raises DayLostError, UnreadableMessageError, KafkaException, StorageError.
    """
    table = IncrementalTable.open_or_create(lake, topic_table.contract)
    watermarks = topic.watermarks()
    bounds = offsets_of_day(day, watermarks, topic.day_starts, today)
    ranges = tuple(
        offsets
        for partition, (start, end) in bounds.items()
        for offsets in split(partition, start, end, topic_table.batch_messages)
    )
    messages, rows_added = _add_from_kafka(table, topic, topic_table, day, ranges)
    starts_in_kafka = all(
        has_start_of_day(partition, day, watermarks, topic.day_starts) for partition in watermarks
    )
    if starts_in_kafka and messages == sum(map(len, ranges)):
        return RebuildResult("kafka", table.count_rows(day.isoformat()), rows_added, ranges)
    history = table.history_of(day.isoformat())
    restored, unreadable_version = _add_from_history(table, topic.name, day, history)
    rows = table.count_rows(day.isoformat())
    problem = incompleteness(history, rows, unreadable_version)
    if problem is not None:
        raise DayLostError(
            f"{topic_table.contract.name} of {day}: Kafka has deleted or compacted messages of "
            f"this day, and the table's history cannot replace them: {problem}; the table has "
            f"{rows} rows of the day"
        )
    return RebuildResult("history", rows, rows_added + restored, ranges)


def _add_from_kafka(
    table: IncrementalTable,
    topic: Topic,
    topic_table: TopicTable,
    day: date,
    ranges: tuple[OffsetRange, ...],
) -> tuple[int, int]:
    """Add missing rows; return the number of messages that Kafka still has, and of added rows."""
    topic_id = topic.topic_id()
    partitions = {offsets.partition for offsets in ranges}
    committed = table.committed_offsets(topic.name, topic_id, partitions)
    messages, rows_added = 0, 0
    for offsets in ranges:
        rows = [topic_table.row_of(message, day) for message in topic.read(topic_id, offsets)]
        messages += len(rows)
        next_offset = committed.get(offsets.partition, offsets.last) + 1
        advances = offsets.first <= next_offset <= offsets.last
        commit = OffsetCommit(topic.name, topic_id, day.isoformat(), (offsets,), advances)
        rows_added += table.append(topic_table.to_arrow(rows), commit).rows
        if advances:
            committed[offsets.partition] = offsets.last
    return messages, rows_added


def _add_from_history(
    table: IncrementalTable, topic: str, day: date, history: DayHistory
) -> tuple[int, int | None]:
    """Restore rows from the table's versions before each removal.

    Returns the number of restored rows, and the last version whose files VACUUM has removed.
    """
    contract, day_text = table.contract, day.isoformat()
    restored, unreadable_version = 0, None
    for version in history.versions_before_removal:
        where = {"day": day_text}
        try:
            rows = table.lake.stream(contract, contract.column_names, where, version).read_all()
        except FileNotFoundError:
            unreadable_version = version
            continue
        commit = OffsetCommit(topic, f"version {version}", day_text, (), advances=False)
        restored += table.append(rows.cast(row_schema(contract)), commit).rows
    return restored, unreadable_version


def incompleteness(history: DayHistory, rows: int, unreadable_version: int | None) -> str | None:
    """Return why a day of `rows` rows may be incomplete; None if the history is complete."""
    if not history.complete:
        return "it reaches back neither to before the day nor to the table's first version"
    if history.rows_added == 0:
        return "it has no ingest of this day"
    if rows >= history.rows_added:
        return None
    if unreadable_version is not None:
        return f"VACUUM has removed the files of version {unreadable_version}"
    return f"{history.rows_added} rows of the day were ingested"
