"""Rebuilding a day of a stream's table: from Kafka while it has it, else from its history.

What is there is left alone and what is missing is added, so that a rebuild can neither lose nor
double a row. Whether the day is whole afterwards is said, never assumed.
"""

from dataclasses import dataclass
from datetime import date

from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.increments import (
    Grown,
    Mark,
    add,
    count_rows,
    open_or_create,
)
from diabetes_platform.lake.stream_history import DayHistory, history_of_day
from diabetes_platform.streaming.destinations import Destination
from diabetes_platform.streaming.increments import mark_of
from diabetes_platform.streaming.ranges import Range, begins_in_kafka, ranges_of_day
from diabetes_platform.streaming.topic import Topic

REBUILD = "rebuild"


class DayLostError(RuntimeError):
    """A day that neither Kafka nor the table's history has whole."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """Where the day came from, and its rows: all, and those that had been missing."""

    source: str
    rows: int
    added: int
    ranges: tuple[Range, ...]


def rebuild(lake: Lake, topic: Topic, destination: Destination, day: date, today: date) -> Rebuilt:
    """Add what is missing of a day. Raises DayLostError where it is not whole afterwards.

    UnreadableError, KafkaException and StorageError pass.
    """
    grown = destination.grown
    table = open_or_create(lake, grown)
    topic_id, ends = topic.topic_id(), topic.ends()
    ranges = ranges_of_day(day, ends, topic.begins, today, destination.most_messages)
    known = table.committed_offsets(topic.name, topic_id, ends)
    added, messages = 0, 0
    for each in ranges:
        rows = [destination.row_of(message, day) for message in topic.read(topic_id, each)]
        messages += len(rows)
        # Where the table has all that comes before, it has all up to here now.
        advances = each.first <= known.get(each.partition, each.last) + 1 <= each.last
        mark = mark_of(topic.name, topic_id, day, each, advances=advances)
        added += add(lake, destination.table_of(rows), [mark], grown).rows
        if advances:
            known[each.partition] = each.last
    begun = all(begins_in_kafka(day, partition, ends, topic.begins) for partition in ends)
    if begun and messages == sum(map(len, ranges)):
        return Rebuilt("kafka", count_rows(lake, day.isoformat(), grown), added, ranges)
    return _from_history(lake, topic.name, grown, day, added, ranges)


def _from_history(
    lake: Lake, topic: str, grown: Grown, day: date, added: int, ranges: tuple[Range, ...]
) -> Rebuilt:
    text, table = day.isoformat(), grown.table
    history = history_of_day(lake, text, table)
    unreadable = None
    for version in history.versions_before_removal:
        try:
            rows = lake.stream(table, table.column_names, {"day": text}, version).read_all()
        except FileNotFoundError:
            unreadable = version
            continue
        mark = Mark(topic, REBUILD, -1, version, version, text, advances=False)
        added += add(lake, rows.cast(row_schema(table)), [mark], grown).rows
    found = count_rows(lake, text, grown)
    problem = missing(history, found, unreadable)
    if problem is not None:
        raise DayLostError(
            f"{table.name} of {text}: Kafka has deleted or compacted messages of this day, and "
            f"the table's history cannot make up for it: {problem}; {found} rows are there"
        )
    return Rebuilt("history", found, added, ranges)


def missing(history: DayHistory, found: int, unreadable: int | None) -> str | None:
    """Return why a day of `found` rows may not be whole; None where history shows that it is."""
    if not history.whole:
        return "it does not reach back to before the day, nor to the table's first version"
    if history.added == 0:
        return "it has no increment of this day"
    if found >= history.added:
        return None
    if unreadable is not None:
        return f"the files of version {unreadable} were removed by VACUUM"
    return f"its increments added {history.added} rows"
