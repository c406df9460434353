"""Offset arithmetic: the next offsets to ingest, and the day (UTC) of every offset. Pure.

A day of a partition starts at the first message that was written on that day or later. So every
offset belongs to exactly one day, even if clocks jump: messages after one with a timestamp in the
future belong to a later day, but never to one after today.
"""

import bisect
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta

from diabetes_platform.lake.incremental_table import OffsetRange

FIRST_DAY = date(2026, 1, 1)
"""The first day; earlier messages belong to it too."""
BATCH_MESSAGES = 10_000
"""The messages of a partition that one batch holds in memory; for messages of a patient's size."""

Watermarks = Mapping[int, tuple[int, int]]
"""The first available offset and the offset of the next message, by partition."""
DayStarts = Callable[[date], Mapping[int, int]]
"""The offset at which a day starts, by partition; the partition's end if no message is so new."""


class MessagesLostError(RuntimeError):
    """The topic ends before an offset that the table has already committed."""


def next_offsets(
    topic: str, committed: Mapping[int, int], watermarks: Watermarks
) -> dict[int, int]:
    """Return the next offset to ingest by partition: the one after the committed offset.

    A partition that was never ingested starts at the first offset that Kafka has. Raises
    MessagesLostError.
    """
    positions = {}
    for partition, (low, high) in watermarks.items():
        position = committed.get(partition, low - 1) + 1
        if position > high:
            raise MessagesLostError(
                f"{topic}-{partition}: the next offset to ingest is {position}, but the topic ends "
                f"at {high}: the broker has lost messages (see docs/operations.md)"
            )
        positions[partition] = position
    return positions


def offsets_past_end(committed: Mapping[int, int], watermarks: Watermarks) -> dict[int, int]:
    """Return the next offset of each partition that ends before it: the broker lost messages."""
    return {
        partition: committed[partition] + 1
        for partition, (_, high) in watermarks.items()
        if partition in committed and committed[partition] + 1 > high
    }


def watermarks_of_deleted_topic(ends: Mapping[int, int]) -> dict[int, tuple[int, int]]:
    """Return the watermarks of a topic that ended at `ends`: Kafka has none of its offsets."""
    return {partition: (end, end) for partition, end in ends.items()}


def unread_ranges(
    positions: Mapping[int, int],
    watermarks: Watermarks,
    day_starts: DayStarts,
    day: date,
    today: date,
    limit: int = sys.maxsize,
) -> list[OffsetRange]:
    """Return the unread offsets of `day` from `positions` on, at most `limit` per partition.

    If Kafka has deleted unread offsets of a partition, the range consists of the deleted ones only.
    """
    bounds = offsets_of_day(day, watermarks, day_starts, today)
    ranges = []
    for partition, position in sorted(positions.items()):
        low, _ = watermarks[partition]
        start, end = bounds[partition]
        if position < low:
            ranges.append(OffsetRange(partition, position, low - 1))
        elif start <= position < end:
            ranges.append(OffsetRange(partition, position, min(end, position + limit) - 1))
    return ranges


def first_unread_day(
    positions: Mapping[int, int], watermarks: Watermarks, day_starts: DayStarts, today: date
) -> tuple[date, list[OffsetRange]] | None:
    """Return the earliest day with unread offsets, and those offsets; None if none are unread.

    Offsets that Kafka has deleted have no day; they are returned with any other ones.
    """
    days: dict[int, date | None] = {}
    for partition, position in positions.items():
        low, high = watermarks[partition]
        if position < low:
            days[partition] = None
        elif position < high:
            days[partition] = day_of(partition, position, day_starts, today)
    if not days:
        return None
    earliest = min(filter(None, days.values()), default=today)
    unread = {p: positions[p] for p, day in days.items() if day in {None, earliest}}
    return earliest, unread_ranges(unread, watermarks, day_starts, earliest, today)


def day_of(partition: int, offset: int, day_starts: DayStarts, today: date) -> date:
    """Return the day of an offset: the last day, up to today, that starts at it or before it.

    A binary search: it sends few requests to the broker, however long the topic is.
    """
    if day_starts(today)[partition] <= offset:
        return today
    days = range(FIRST_DAY.toordinal(), today.toordinal())
    index = bisect.bisect_right(
        days, offset, key=lambda day: day_starts(date.fromordinal(day))[partition]
    )
    return date.fromordinal(days[max(index - 1, 0)]) if days else today


def offsets_of_day(
    day: date, watermarks: Watermarks, day_starts: DayStarts, today: date
) -> dict[int, tuple[int, int]]:
    """Return the first available offset of a day, and the first after the day, by partition."""
    bounds = {}
    for partition, (low, high) in sorted(watermarks.items()):
        # A deleted topic may have had more partitions than the present one.
        start = low if day <= FIRST_DAY else max(low, day_starts(day).get(partition, high))
        end = high if day >= today else day_starts(day + timedelta(days=1)).get(partition, high)
        bounds[partition] = (start, min(end, high))
    return bounds


def has_start_of_day(
    partition: int, day: date, watermarks: Watermarks, day_starts: DayStarts
) -> bool:
    """Whether Kafka still has a day's first message: it has an older one or has deleted nothing."""
    low, _ = watermarks[partition]
    return low == 0 or day_starts(day)[partition] > low


def split(
    partition: int, start: int, end: int, limit: int = BATCH_MESSAGES
) -> Iterator[OffsetRange]:
    """Yield the offsets from `start` to below `end` in ranges of at most `limit`."""
    for first in range(start, end, limit):
        yield OffsetRange(partition, first, min(first + limit, end) - 1)
