"""Ingestion of a topic into its table, and rebuilding of a day.

An ingest run starts at the offsets that the table has committed, and reads to the end of the topic
or of the day. Each batch is one commit, so a killed run repeats at most one batch. A rebuild only
adds missing rows, so it neither loses nor duplicates a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Self

from diabetes_platform.contract.topics import DELETED
from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.incremental_table import (
    DayHistory,
    IncrementalTable,
    OffsetCommit,
    OffsetRange,
)
from diabetes_platform.streaming.offsets import (
    Watermarks,
    has_start_of_day,
    next_offsets,
    offsets_of_day,
    split,
    unread_ranges,
    watermarks_of_deleted_topic,
)
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


class DayLostError(RuntimeError):
    """Neither Kafka nor the table's history has the complete day."""


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
        """Return the sum; consecutive ranges of a partition become one."""
        ranges = {offsets.partition: offsets for offsets in self.ranges}
        for offsets in other.ranges:
            first = ranges.get(offsets.partition, offsets).first
            ranges[offsets.partition] = replace(offsets, first=first)
        return replace(
            self,
            ranges=tuple(sorted(ranges.values())),
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
    requested = {offsets.partition: offsets for offsets in request.ranges}
    committed = table.committed_offsets(topic.name, request.topic_id, requested)
    watermarks: Watermarks
    if topic.topic_id() == request.topic_id:
        watermarks = {p: at for p, at in topic.watermarks().items() if p in requested}
    else:
        ends = {}
        for partition, offsets in requested.items():
            # Without a committed offset, the first unread one is that of the request.
            last_committed = committed.setdefault(partition, offsets.first - 1)
            ends[partition] = max(offsets.last, last_committed) + 1
        watermarks = watermarks_of_deleted_topic(ends)
    positions = next_offsets(topic.name, committed, watermarks)
    if starts := {p: offset - 1 for p, offset in positions.items() if p not in committed}:
        # From now on, messages that Kafka deletes before they are ingested count as lost.
        table.commit_offsets(topic.name, request.topic_id, starts)
    return _Run(table, topic, topic_table, request).ingest(watermarks, positions, today)


@dataclass(frozen=True, slots=True)
class _Run:
    table: IncrementalTable
    topic: Topic
    topic_table: TopicTable
    request: IngestRequest

    def ingest(
        self, watermarks: Watermarks, positions: dict[int, int], today: date
    ) -> IngestResult:
        """Ingest batch by batch from `positions` on, until nothing is unread."""
        topic, request, limit = self.topic, self.request, self.topic_table.batch_messages
        result = IngestResult()
        reasons, blocked = dict[int, str](), dict[int, int]()
        # One batch only: an operator accepts the loss in the blocked batch, not any later loss.
        for _ in range(1 if request.accept_loss else MAX_BATCHES):
            rows: list[Row] = []
            batch = IngestResult()
            for offsets in unread_ranges(
                positions, watermarks, topic.day_starts, request.day, today, limit
            ):
                try:
                    partition_rows, partition_result = self._read(offsets, watermarks)
                except (OffsetsDeletedError, UnreadableMessageError) as error:
                    reasons[offsets.partition] = str(error)
                    blocked[offsets.partition] = positions.pop(offsets.partition)
                    continue
                rows += partition_rows
                batch += partition_result
            if not batch.ranges:
                break
            commit = OffsetCommit(
                topic.name, request.topic_id, request.day.isoformat(), batch.ranges
            )
            new_rows = self.topic_table.new_rows(self.table.lake, self.topic_table.to_arrow(rows))
            rows_added = self.table.append(new_rows, commit)
            result += replace(batch, rows_added=rows_added)
            positions |= {offsets.partition: offsets.last + 1 for offsets in batch.ranges}
        if blocked:
            raise PartitionsBlockedError(reasons, blocked)
        return result

    def _read(self, offsets: OffsetRange, watermarks: Watermarks) -> tuple[list[Row], IngestResult]:
        """Return the rows of a range, and its result, whose `rows_added` is still 0."""
        topic_id, accept_loss = self.request.topic_id, self.request.accept_loss
        low, _ = watermarks[offsets.partition]
        if offsets.first < low:
            if accept_loss:
                return [], IngestResult((offsets,), lost_offsets=len(offsets))
            # Its error says whether the topic or only its oldest messages were deleted.
            self.topic.require(topic_id, offsets)
            raise OffsetsDeletedError(f"{self.topic.name}: offsets {offsets} were deleted")
        rows: list[Row] = []
        unreadable: list[str] = []
        for message in self.topic.read(topic_id, offsets):
            try:
                rows.append(self.topic_table.row_of(message, self.request.day))
            except UnreadableMessageError as error:
                unreadable.append(str(error))
        if unreadable and not accept_loss:
            remaining = len(unreadable) - _REASONS_SHOWN
            more = [f"and {remaining} more"] if remaining > 0 else []
            raise UnreadableMessageError("; ".join(unreadable[:_REASONS_SHOWN] + more))
        return rows, IngestResult(
            (offsets,),
            messages=len(rows) + len(unreadable),
            deletions=sum(row.get("op") == DELETED for row in rows),
            unreadable=tuple(unreadable),
        )


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
    """Add the missing rows of a day, from Kafka or else from the table's history.

    Raises DayLostError unless the day is certain to be complete afterwards, and
    UnreadableMessageError, KafkaException, StorageError.
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
        new_rows = topic_table.new_rows(table.lake, topic_table.to_arrow(rows))
        rows_added += table.append(new_rows, commit)
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
        restored += table.append(rows.cast(row_schema(contract)), commit)
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
