"""How far the stream has been brought into the lake: the sensor's cursor, and what a tick makes of
it. Pure.

The Delta table is what knows the offsets that it has; the cursor says what is on its way. A run
that has ended, well or not, is judged by the table's offsets.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Literal

from diabetes_platform.streaming.ranges import (
    MOST_MESSAGES,
    Begins,
    Ends,
    Increment,
    Range,
    next_ranges,
    parse_range,
)

IN_FLIGHT = 2
"""One run at work and one that waits for it, so that its start does not wait for a tick."""
_LONGEST_PAUSE_MS = 300_000
_SHORTEST_PAUSE_MS = 5_000


class CursorError(RuntimeError):
    """A cursor, or the offsets in the table, that do not fit the topic."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A run that was asked for, by its key, with its ranges."""

    run_key: str
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run; `refused` are the partitions in which a new try would fail again."""

    state: Literal["under way", "ended"]
    refused: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Progress:
    """By partition: the next offset, the last one known to be in the table, the topic's end seen.

    `held` partitions wait until the table has the offset in it: a person decides. `failures`
    count runs that failed in a row, after which nothing is asked for before `not_before_ms`.
    """

    topic: str
    topic_id: str
    positions: Mapping[int, int] = field(default_factory=dict)
    committed: Mapping[int, int] = field(default_factory=dict)
    ends: Mapping[int, int] = field(default_factory=dict)
    held: Mapping[int, int] = field(default_factory=dict)
    pending: tuple[Pending, ...] = ()
    failures: int = 0
    not_before_ms: int = 0
    observed_ms: int = 0


def write_cursor(progress: Progress) -> str:
    """Return the cursor's text."""
    pending = [[one.run_key, *map(str, one.ranges)] for one in progress.pending]
    return json.dumps({**asdict(progress), "pending": pending})


def read_cursor(text: str, topic: str) -> Progress:
    """Return what `write_cursor` wrote for `topic`; CursorError for anything else."""
    try:
        given = json.loads(text)
        pending = [Pending(key, tuple(map(parse_range, rest))) for key, *rest in given["pending"]]
        by_partition = {
            name: {int(partition): int(offset) for partition, offset in given[name].items()}
            for name in ("positions", "committed", "ends", "held")
        }
        found = Progress(**{**given, **by_partition, "pending": tuple(pending)})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CursorError(f"cursor: cannot be read ({error}); {_CLEAR}") from error
    if found.topic != topic:
        raise CursorError(f"cursor: given one of topic {found.topic}, allowed {topic}; {_CLEAR}")
    return found


_CLEAR = "clear it on the sensor's page in Dagster: it is then made from the table's own offsets"


def settle(
    progress: Progress,
    outcomes: Mapping[str, Outcome],
    committed: Mapping[int, int],
    now_ms: int,
) -> Progress:
    """Return the progress after a look at its runs and at the offsets in the table.

    A failed run is only dealt with when none is under way any more: its successor fails too.
    """
    ended = [one for one in progress.pending if outcomes[one.run_key].state == "ended"]
    broken = [each for one in ended for each in one.ranges if not _has(committed, each)]
    held = {p: last for p, last in progress.held.items() if committed.get(p, -1) < last}
    positions = {**progress.positions}
    for partition in progress.held.keys() - held.keys():
        positions[partition] = committed[partition] + 1
    progress = replace(progress, committed=committed, held=held, positions=positions)
    if not broken:
        left = tuple(one for one in progress.pending if one not in ended)
        failures = 0 if ended else progress.failures
        return replace(progress, pending=left, failures=failures)
    if len(ended) < len(progress.pending):
        return progress
    refused = frozenset[int]().union(*(outcomes[one.run_key].refused for one in ended))
    for each in sorted(broken, reverse=True):
        positions[each.partition] = max(each.first, committed.get(each.partition, -1) + 1)
        if each.partition in refused:
            held[each.partition] = each.last
    pause = min(_SHORTEST_PAUSE_MS * 2**progress.failures, _LONGEST_PAUSE_MS)
    return replace(
        progress,
        positions=positions,
        held=held,
        pending=(),
        failures=progress.failures + 1,
        # What was killed is tried again at once.
        not_before_ms=now_ms + (pause if progress.failures else 0),
    )


def _has(committed: Mapping[int, int], wanted: Range) -> bool:
    return committed.get(wanted.partition, -1) >= wanted.last


def follow_topic(progress: Progress, topic_id: str, ends: Ends) -> Progress:
    """Return the progress on the topic as it is: partitions that are new, or all made anew.

    What the table does not know of is read from its beginning. Of a topic made anew the old one's
    offsets come first, if any were left unread; their run says that they are gone. Raises
    CursorError where the topic ends before what has been read of it.
    """
    if topic_id != progress.topic_id:
        if _unread(progress) or progress.pending:
            return progress
        progress = Progress(progress.topic, topic_id, observed_ms=progress.observed_ms)
    positions = {
        partition: progress.positions.get(partition, progress.committed.get(partition, low - 1) + 1)
        for partition, (low, _) in ends.items()
    }
    for partition, position in positions.items():
        _, high = ends[partition]
        if position > high:
            raise CursorError(
                f"{progress.topic}-{partition}: {position} is the next offset to read, and the "
                f"topic ends at {high}: the broker has lost messages (see docs/operations.md)"
            )
    seen = {partition: high for partition, (_, high) in ends.items()}
    return replace(progress, positions=positions, ends=seen)


def _unread(progress: Progress) -> dict[int, int]:
    return {p: at for p, at in progress.positions.items() if at < progress.ends.get(p, at)}


def ask(
    progress: Progress,
    topic_id: str,
    ends: Ends,
    begins: Begins,
    today: date,
    now_ms: int,
    most: int = MOST_MESSAGES,
) -> tuple[tuple[Increment, ...], Progress]:
    """Return the increments to run now, and the progress with them under way.

    Each has at most `most` messages of a partition.
    """
    increments = []
    while len(progress.pending) < IN_FLIGHT and now_ms >= progress.not_before_ms:
        found = _next(progress, topic_id, ends, begins, today, most)
        if found is None:
            break
        increments.append(found)
        pending = Pending(found.run_key(progress.failures), found.ranges)
        after = {each.partition: each.last + 1 for each in found.ranges}
        progress = replace(
            progress,
            positions={**progress.positions, **after},
            pending=(*progress.pending, pending),
        )
    return tuple(increments), progress


def _next(
    progress: Progress, topic_id: str, ends: Ends, begins: Begins, today: date, most: int
) -> Increment | None:
    under_way = [each for one in progress.pending for each in one.ranges]
    waiting = progress.held.keys() | {
        each.partition
        for each in under_way
        # A table that knows no offset of a partition cannot tell that the one before is missing;
        # and what follows lost offsets would fail with them.
        if each.partition not in progress.committed
        or each.first < ends.get(each.partition, (0, 0))[0]
    }
    free = {p: at for p, at in progress.positions.items() if p not in waiting}
    if topic_id != progress.topic_id:
        gone = {p: Range(p, at, progress.ends[p] - 1) for p, at in _unread(progress).items()}
        left = tuple(each for p, each in sorted(gone.items()) if p in free)
        return Increment(progress.topic, progress.topic_id, today, left) if left else None
    found = next_ranges(free, ends, begins, today, most)
    return Increment(progress.topic, topic_id, *found) if found else None
