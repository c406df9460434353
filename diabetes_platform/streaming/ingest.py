"""One ingest run: the unread offsets of a day, from a Kafka topic into its table.

A run starts at the offsets that the table has committed, and reads to the end of the topic or of
the day. Each batch is one commit, so a killed run repeats at most one batch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Self

from diabetes_platform.contract.events import DELETED
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.incremental_table import IncrementalTable, OffsetCommit, OffsetRange
from diabetes_platform.streaming.offsets import Watermarks, next_offsets, unread_ranges
from diabetes_platform.streaming.rows import Row, TopicTable, UnreadableMessageError
from diabetes_platform.streaming.topic import OffsetsDeletedError, Topic

MAX_BATCHES = 20
"""The maximum number of batches in a run; the next run continues."""
_REASONS_SHOWN = 5


class PartitionsBlockedError(RuntimeError):
    """Messages that no retry can ingest; the other partitions of the run were ingested.

    `offsets` is the next offset to ingest of each blocked partition.
    """

    def __init__(self, reasons: Mapping[int, str], offsets: Mapping[int, int]) -> None:
        super().__init__("; ".join(reason for _, reason in sorted(reasons.items())))
        self.offsets = offsets


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """The work of a run: the partitions of `ranges`, in the topic with the id `topic_id`.

    `ranges` are the offsets that were unread at the time of the request; the run also reads newer
    messages. With `accept_loss` it reads one batch, and skips messages that Kafka has deleted or
    that cannot be read.
    """

    topic_id: str
    day: date
    ranges: tuple[OffsetRange, ...]
    accept_loss: bool = False


@dataclass(frozen=True, slots=True)
class IngestResult:
    """The offsets that were ingested, their messages, and what was skipped with `accept_loss`."""

    ranges: tuple[OffsetRange, ...] = ()
    messages: int = 0
    deletions: int = 0
    rows_added: int = 0
    lost_offsets: int = 0
    unreadable: tuple[str, ...] = ()

    def __add__(self, other: Self) -> Self:
        return replace(
            self,
            ranges=_joined([*self.ranges, *other.ranges]),
            messages=self.messages + other.messages,
            deletions=self.deletions + other.deletions,
            rows_added=self.rows_added + other.rows_added,
            lost_offsets=self.lost_offsets + other.lost_offsets,
            unreadable=self.unreadable + other.unreadable,
        )


def ingest(
    lake: Lake, topic: Topic, topic_table: TopicTable, request: IngestRequest, today: date
) -> IngestResult:
    """Ingest the unread offsets of the request's day; existing rows stay unchanged.

    Raises MessagesLostError, KafkaException, StorageError and, if another writer commits first,
    CommitFailedError. Raises PartitionsBlockedError after all other partitions were ingested.
    """
    table = IncrementalTable.open_or_create(lake, topic_table.contract)
    if topic.topic_id() != request.topic_id:
        return _ingest_recreated(table, topic, topic_table, request)
    partitions = {offsets.partition for offsets in request.ranges}
    watermarks: Watermarks = {p: at for p, at in topic.watermarks().items() if p in partitions}
    committed = table.committed_offsets(topic.name, request.topic_id, partitions)
    positions = next_offsets(topic.name, committed, watermarks)
    if starts := {p: offset - 1 for p, offset in positions.items() if p not in committed}:
        # From now on, messages that Kafka deletes before they are ingested count as lost.
        table.commit_offsets(topic.name, request.topic_id, starts)
    return _Run(table, topic, topic_table, request, today).ingest(watermarks, positions)


def _ingest_recreated(
    table: IncrementalTable, topic: Topic, topic_table: TopicTable, request: IngestRequest
) -> IngestResult:
    """Skip the unread offsets of a deleted topic; raises PartitionsBlockedError unless accepted."""
    partitions = [offsets.partition for offsets in request.ranges]
    committed = table.committed_offsets(topic.name, request.topic_id, partitions)
    starts = {r: max(r.first, committed.get(r.partition, -1) + 1) for r in request.ranges}
    lost = tuple(
        OffsetRange(r.partition, start, r.last) for r, start in starts.items() if start <= r.last
    )
    if lost and not request.accept_loss:
        raise _recreated(topic, request, lost)
    if lost:
        commit = OffsetCommit(topic.name, request.topic_id, request.day.isoformat(), lost)
        table.append(topic_table.to_arrow([]), commit)
    return IngestResult(lost, lost_offsets=sum(map(len, lost)))


def _recreated(
    topic: Topic, request: IngestRequest, unread: Sequence[OffsetRange]
) -> PartitionsBlockedError:
    reasons = {
        offsets.partition: f"{topic.name}-{offsets.partition}: the topic with id "
        f"{request.topic_id} was deleted and created again before its offsets {offsets.first} to "
        f"{offsets.last} were ingested"
        for offsets in unread
    }
    return PartitionsBlockedError(reasons, {offsets.partition: offsets.first for offsets in unread})


@dataclass(frozen=True, slots=True)
class _Run:
    table: IncrementalTable
    topic: Topic
    topic_table: TopicTable
    request: IngestRequest
    today: date

    def ingest(self, watermarks: Watermarks, positions: dict[int, int]) -> IngestResult:
        """Ingest batch by batch from `positions` on, until nothing is unread."""
        result = IngestResult()
        reasons, blocked = dict[int, str](), dict[int, int]()
        # One batch only: an operator accepts the loss in the blocked batch, not any later loss.
        for _ in range(1 if self.request.accept_loss else MAX_BATCHES):
            ranges = self._next_ranges(watermarks, positions)
            if not ranges:
                break
            rows: list[Row] = []
            batch = IngestResult()
            for offsets in ranges:
                try:
                    partition_rows, partition_result = self._read(offsets, watermarks)
                except (OffsetsDeletedError, UnreadableMessageError) as error:
                    reasons[offsets.partition] = str(error)
                    blocked[offsets.partition] = positions.pop(offsets.partition)
                    continue
                rows += partition_rows
                batch += partition_result
            if self.topic.topic_id() != self.request.topic_id:
                raise _recreated(self.topic, self.request, ranges)
            result += self._append(rows, batch)
            positions |= {offsets.partition: offsets.last + 1 for offsets in batch.ranges}
        if blocked:
            raise PartitionsBlockedError(reasons, blocked)
        return result

    def _next_ranges(
        self, watermarks: Watermarks, positions: Mapping[int, int]
    ) -> list[OffsetRange]:
        day, limit = self.request.day, self.topic_table.batch_messages
        starts = self.topic.day_starts
        return unread_ranges(positions, watermarks, starts, day, self.today, limit)

    def _read(self, offsets: OffsetRange, watermarks: Watermarks) -> tuple[list[Row], IngestResult]:
        """Return the rows of a range, and its result, whose `rows_added` is still 0."""
        low, _ = watermarks[offsets.partition]
        accept_loss = self.request.accept_loss
        if offsets.first < low:
            if not accept_loss:
                self.topic.require(offsets)
            return [], IngestResult((offsets,), lost_offsets=len(offsets))
        rows: list[Row] = []
        unreadable: list[str] = []
        for message in self.topic.read(self.request.topic_id, offsets):
            try:
                rows.append(self.topic_table.row_of(message, self.request.day))
            except UnreadableMessageError as error:
                unreadable.append(str(error))
        if unreadable and not accept_loss:
            raise UnreadableMessageError(_shortened(unreadable))
        return rows, IngestResult(
            (offsets,),
            messages=len(rows) + len(unreadable),
            deletions=sum(row.get("op") == DELETED for row in rows),
            unreadable=tuple(unreadable),
        )

    def _append(self, rows: Iterable[Row], batch: IngestResult) -> IngestResult:
        """Add the rows and the offsets of a batch in one commit."""
        if not batch.ranges:
            return batch
        day = self.request.day.isoformat()
        commit = OffsetCommit(self.topic.name, self.request.topic_id, day, batch.ranges)
        added = self.table.append(self.topic_table.to_arrow(rows), commit)
        return replace(batch, rows_added=added.rows)


def _shortened(reasons: Sequence[str]) -> str:
    shown, remaining = list(reasons[:_REASONS_SHOWN]), len(reasons) - _REASONS_SHOWN
    return "; ".join([*shown, f"and {remaining} more"] if remaining > 0 else shown)


def _joined(ranges: Iterable[OffsetRange]) -> tuple[OffsetRange, ...]:
    """Merge the consecutive ranges of each partition into one."""
    joined: dict[int, OffsetRange] = {}
    for offsets in ranges:
        first = joined.get(offsets.partition, offsets).first
        joined[offsets.partition] = OffsetRange(offsets.partition, first, offsets.last)
    return tuple(sorted(joined.values()))
