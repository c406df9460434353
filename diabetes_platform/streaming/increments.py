"""One increment of the stream: its ranges read from the topic and added to the lake."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from diabetes_platform.contract.events import DELETED
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.increments import Growing, Mark, open_or_create
from diabetes_platform.streaming.destinations import Destination
from diabetes_platform.streaming.messages import Row, UnreadableError
from diabetes_platform.streaming.ranges import Increment, Range
from diabetes_platform.streaming.topic import RangeGoneError, Topic


class IncrementRefusedError(RuntimeError):
    """What another try cannot mend, of `partitions`; those that are not named were added."""

    def __init__(self, reasons: dict[int, str]) -> None:
        super().__init__("; ".join(reason for _, reason in sorted(reasons.items())))
        self.partitions = frozenset(reasons)


class IncrementOrderError(RuntimeError):
    """The table lacks offsets that come before those of the increment."""


@dataclass(frozen=True, slots=True)
class Part:
    """What was read of one range, and what a person agreed to go on without."""

    range: Range
    messages: int = 0
    deletions: int = 0
    unreadable: tuple[str, ...] = ()
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Brought:
    """The ranges of an increment, and how many rows of theirs are new in the table."""

    parts: tuple[Part, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class _Reading:
    rows: list[Row]
    unreadable: tuple[str, ...] = ()
    lost: int = 0

    def part(self, of: Range) -> Part:
        return Part(
            of,
            messages=len(self.rows) + len(self.unreadable),
            deletions=sum(row.get("op") == DELETED for row in self.rows),
            unreadable=self.unreadable,
            lost=self.lost,
        )


def bring(
    lake: Lake,
    topic: Topic,
    destination: Destination,
    increment: Increment,
    *,
    accept_loss: bool = False,
) -> Brought:
    """Add the ranges of the increment in one commit; what the table has is left alone.

    With `accept_loss` it goes on without offsets that Kafka has deleted and messages that cannot
    be read. Raises IncrementRefusedError at its end, with every range added that can be,
    IncrementOrderError, KafkaException, StorageError.
    """
    table = open_or_create(lake, destination.grown)
    partitions = [each.partition for each in increment.ranges]
    known = table.committed_offsets(increment.topic, increment.topic_id, partitions)
    wanted = [(each, _left(each, known.get(each.partition))) for each in increment.ranges]
    read, refused = dict[Range, _Reading](), dict[int, str]()
    for left in (left for _, left in wanted if left is not None):
        try:
            read[left] = _read(topic, destination, increment, left, accept_loss=accept_loss)
        except (RangeGoneError, UnreadableError) as error:
            refused[left.partition] = str(error)
    added = _add(table, destination, increment, read)
    if refused:
        raise IncrementRefusedError(refused)
    parts = (Part(each) if left is None else read[left].part(left) for each, left in wanted)
    return Brought(tuple(parts), added)


def _left(wanted: Range, known: int | None) -> Range | None:
    """Return what the table does not have yet; IncrementOrderError where more is missing."""
    if known is None:
        return wanted
    if wanted.first > known + 1:
        raise IncrementOrderError(
            f"partition {wanted.partition}: given offsets from {wanted.first} on, "
            f"allowed {known + 1}: those before them are not in the table"
        )
    return Range(wanted.partition, known + 1, wanted.last) if wanted.last > known else None


def _read(
    topic: Topic,
    destination: Destination,
    increment: Increment,
    wanted: Range,
    *,
    accept_loss: bool,
) -> _Reading:
    made_anew = _made_anew(topic, increment, wanted)
    low, _ = topic.ends()[wanted.partition] if made_anew is None else (wanted.last + 1, 0)
    if accept_loss and low > wanted.last:
        return _Reading([], (), len(wanted))
    if made_anew is not None:
        raise RangeGoneError(made_anew)
    first = max(wanted.first, low) if accept_loss else wanted.first
    rows: list[Row] = []
    unreadable: list[str] = []
    for message in topic.read(increment.topic_id, Range(wanted.partition, first, wanted.last)):
        try:
            rows.append(destination.row_of(message, increment.day))
        except UnreadableError as error:
            unreadable.append(str(error))
    made_anew = _made_anew(topic, increment, wanted)
    if made_anew is not None:
        raise RangeGoneError(made_anew)
    if unreadable and not accept_loss:
        raise UnreadableError("; ".join(_few(unreadable)))
    return _Reading(rows, tuple(unreadable), first - wanted.first)


def _made_anew(topic: Topic, increment: Increment, wanted: Range) -> str | None:
    """Return what to say where the topic is another one than that of the increment."""
    if topic.topic_id() == increment.topic_id:
        return None
    return (
        f"{topic.name}-{wanted.partition}: given offsets {wanted.first} to {wanted.last} of the "
        f"topic with id {increment.topic_id}: it was deleted and made anew before they were read"
    )


def _few(reasons: Sequence[str], most: int = 5) -> list[str]:
    more = [f"and {len(reasons) - most} more"] if len(reasons) > most else []
    return [*reasons[:most], *more]


def _add(
    table: Growing, destination: Destination, increment: Increment, read: Mapping[Range, _Reading]
) -> int:
    """Add what was read in one commit; return how many rows are new."""
    if not read:
        return 0
    rows = destination.table_of(row for reading in read.values() for row in reading.rows)
    topic, topic_id, day = increment.topic, increment.topic_id, increment.day
    marks = [mark_of(topic, topic_id, day, each) for each in read]
    return table.add(rows, marks).rows


def mark_of(topic: str, topic_id: str, day: date, wanted: Range, *, advances: bool = True) -> Mark:
    """Return what the commit of a range says of itself."""
    partition, first, last = wanted.partition, wanted.first, wanted.last
    return Mark(topic, topic_id, partition, first, last, day.isoformat(), advances)
