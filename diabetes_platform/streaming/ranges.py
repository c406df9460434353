"""Which offsets of a topic are read next, and of which day they are. Pure: the broker is asked by
a function that the caller gives.

A day (UTC) of a partition of the topic begins at the first message written on it or later. So
every offset belongs to one day, whatever clocks did: one that was ahead moves messages to a later
day, at most to today's, and never between two.
"""

import bisect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

FIRST_DAY = date(2026, 1, 1)
"""What was written before is of this day."""
MOST_MESSAGES = 10_000
"""So many of a partition are read by one run, where they are no larger than a patient's image."""
_RANGE = re.compile(r"(\d+):(\d+)-(\d+)")

Ends = Mapping[int, tuple[int, int]]
"""By partition the first offset that is kept, and the offset of the next message to come."""
Begins = Callable[[date], Mapping[int, int]]
"""By partition where a day begins; where nothing is that young, the end of the partition."""


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """Offsets `first` to `last` of one partition, both included."""

    partition: int
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.first}-{self.last}"

    def __len__(self) -> int:
        return self.last - self.first + 1


def parse_range(text: str) -> Range:
    """Return the range written as `partition:first-last`; ValueError for anything else."""
    found = _RANGE.fullmatch(text)
    if found is None or int(found[2]) > int(found[3]):
        raise ValueError(f"range: given {text!r}, allowed <partition>:<first>-<last>, in order")
    return Range(*map(int, found.groups()))


@dataclass(frozen=True, slots=True)
class Increment:
    """What one run reads: of one day at most one range of each partition."""

    topic: str
    topic_id: str
    day: date
    ranges: tuple[Range, ...]

    def run_key(self, retries: int) -> str:
        """Return its name: topic, its id, partitions and offsets, and after a failure which try.

        A topic that was made anew has the same offsets again, and Dagster runs a key once.
        """
        again = f"#{retries}" if retries else ""
        return f"{self.topic}@{self.topic_id}:{','.join(map(str, self.ranges))}{again}"


def next_ranges(
    positions: Mapping[int, int],
    ends: Ends,
    begins: Begins,
    today: date,
    most: int = MOST_MESSAGES,
) -> tuple[date, tuple[Range, ...]] | None:
    """Return the ranges of the earliest day that has any, None where all has been read.

    `positions` says by partition which offset is next; at most `most` of one are read. A range that
    Kafka has deleted comes alone: its run fails and says so, and none of the others with it.
    """
    found: dict[date, list[Range]] = {}
    for partition, position in sorted(positions.items()):
        low, high = ends[partition]
        if position < low:
            lost = Range(partition, position, low - 1)
            return day_of(partition, low, begins, today), (lost,)
        if position < high:
            day = day_of(partition, position, begins, today)
            end = high if day >= today else begins(day + timedelta(days=1))[partition]
            last = min(end, high, position + most) - 1
            found.setdefault(day, []).append(Range(partition, position, last))
    if not found:
        return None
    day = min(found)
    return day, tuple(found[day])


def day_of(partition: int, offset: int, begins: Begins, today: date) -> date:
    """Return the day of an offset: the last one, up to today, that begins at it or before.

    A handful of questions to the broker, however long the topic is.
    """
    if begins(today)[partition] <= offset:
        return today
    days = range(FIRST_DAY.toordinal(), today.toordinal())
    index = bisect.bisect_right(
        days, offset, key=lambda day: begins(date.fromordinal(day))[partition]
    )
    return date.fromordinal(days[max(index - 1, 0)]) if days else today


def ranges_of_day(
    day: date, ends: Ends, begins: Begins, today: date, most: int = MOST_MESSAGES
) -> tuple[Range, ...]:
    """Return what Kafka still has of a day, in ranges of at most `most` offsets."""
    found: list[Range] = []
    for partition, (low, high) in sorted(ends.items()):
        begin = low if day <= FIRST_DAY else max(low, begins(day)[partition])
        end = high if day >= today else begins(day + timedelta(days=1))[partition]
        found += split(partition, begin, min(end, high), most)
    return tuple(found)


def split(partition: int, begin: int, end: int, most: int = MOST_MESSAGES) -> Iterable[Range]:
    """Yield the offsets `begin` to below `end` in ranges of at most `most`."""
    for first in range(begin, end, most):
        yield Range(partition, first, min(first + most, end) - 1)


def begins_in_kafka(day: date, partition: int, ends: Ends, begins: Begins) -> bool:
    """Whether Kafka has a day's first message: an older one is there, or nothing is gone."""
    low, _ = ends[partition]
    return low == 0 or begins(day)[partition] > low
