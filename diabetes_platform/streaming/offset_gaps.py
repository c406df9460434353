"""Offset gaps: messages that Kafka removed before a consumer group of the stream read them.

Flink and the predictor continue after a gap with the oldest message that Kafka still has, so only
their committed offsets show it. The decisions are pure functions over the state that the sensor
`offset_gaps` keeps in its cursor.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from pydantic import BaseModel, ConfigDict

from diabetes_platform.contract.topics import (
    CDC_TOPIC,
    FLINK_GROUP,
    PREDICTOR_GROUP,
    SINK_TOPIC,
)
from diabetes_platform.lake.incremental_table import OffsetRange
from diabetes_platform.streaming.incidents import HealthIssue
from diabetes_platform.streaming.topic import open_topic

GROUPS = ((FLINK_GROUP, CDC_TOPIC), (PREDICTOR_GROUP, SINK_TOPIC))
"""The consumer groups of the stream, and the topic that each one reads."""
CAUGHT_UP_LAG = 100
"""Up to this lag, patients without an answer are not merely waiting for their turn."""
ANSWER_MS = 120_000
"""After this time, changes that were emitted again have an answer or a dead letter.

It is longer than `WAITING_AGE` of the intake, so changes from just before the gap count, too.
"""
RECENT_MS = 600_000
"""Kafka may remove what a group has read since a poll that is older, as while Dagster was down."""
_SECONDS = 5.0

Step = Literal["wait", "emit", "wait_for_operator", "close"]
"""What to do about the open gaps; `wait_for_operator` waits for `diabetes repair`."""


class GroupOffsets(BaseModel):
    """The next offset that a group will read, and the topic's first offset and end, by partition.

    Partitions without a committed offset are left out of `committed`.
    """

    model_config = ConfigDict(frozen=True)

    topic_id: str
    committed: dict[int, int] = {}
    ends: dict[int, int] = {}
    lows: dict[int, int] = {}
    polled_ms: int = 0


class OffsetGap(BaseModel):
    """Messages of a topic that a group can no longer read, found from `found_ms` to `newest_ms`.

    `ranges` are written `partition:first-last`, by the id of the topic that had them. Of a topic
    that was deleted, they are what was unread at the last poll.
    """

    model_config = ConfigDict(frozen=True)

    group: str
    topic: str
    ranges: dict[str, tuple[str, ...]]
    deleted: bool = False
    found_ms: int
    newest_ms: int

    @property
    def issue(self) -> HealthIssue:
        """The issue of its incident, which lasts while the gap grows."""
        ranges = [text for texts in self.ranges.values() for text in texts]
        lost = sum(len(OffsetRange.parse(text)) for text in ranges)
        problem = (
            f"lost offsets {', '.join(ranges)} ({lost:,} offsets): Kafka removed them before they "
            "were read"
            if ranges
            else "may have lost messages"
        )
        if self.deleted:
            problem += "; the topic was deleted and created again, with what else was unread"
        return HealthIssue(
            f"group {self.group} in {self.topic}",
            f"{problem}. The patients are emitted again: docs/operations.md, “Lost messages”",
            first_ms=self.found_ms,
            urgent=True,
        )


class Emission(BaseModel):
    """The progress of emitting all patients again: those with an id up to `through` are sent."""

    model_config = ConfigDict(frozen=True)

    through: int = 0
    emitted: int = 0
    finished_ms: int | None = None
    tombstones_ms: int | None = None


class GapState(BaseModel):
    """What the sensor keeps between two polls: the offsets of each group, and the open gaps.

    One emission repairs all open gaps. It starts again whenever a gap is found or grows.
    """

    groups: dict[str, GroupOffsets] = {}
    gaps: tuple[OffsetGap, ...] = ()
    emission: Emission = Emission()


@dataclass(frozen=True, slots=True)
class GroupPoll:
    """The offsets of a group in a topic."""

    group: str
    topic: str
    offsets: GroupOffsets

    @property
    def lag(self) -> int:
        """The number of unread offsets.

        A partition counts as a whole without a commit, and with one past its end: the group has not
        yet read the topic that was created again.
        """
        return sum(self._lag_of(partition) for partition in self.offsets.lows)

    def _lag_of(self, partition: int) -> int:
        low, end = self.offsets.lows[partition], self.offsets.ends[partition]
        committed = self.offsets.committed.get(partition, low)
        return end - (committed if low <= committed <= end else low)

    @property
    def is_before_gap(self) -> bool:
        """Whether the next offset of a partition was removed, and a message follows."""
        committed, ends = self.offsets.committed, self.offsets.ends
        return any(committed.get(p, low) < low < ends[p] for p, low in self.offsets.lows.items())


def lost_ranges(previous: GroupOffsets | None, poll: GroupPoll) -> list[OffsetRange]:
    """Return the offsets that Kafka removed since `previous` and that the group had not read.

    A group that has already continued after the gap is recognised by `previous`. That must be
    recent, so that Kafka has not removed what was read in between. Of a topic that was deleted,
    messages after the previous poll may be lost, too.
    """
    if previous is not None and was_recreated(previous, poll):
        return [
            OffsetRange(partition, first, end - 1)
            for partition, end in sorted(previous.ends.items())
            if (first := previous.committed.get(partition, 0)) < end
        ]
    ranges = []
    for partition, low in sorted(poll.offsets.lows.items()):
        candidates = [
            offsets.committed[partition]
            for offsets in (previous, poll.offsets)
            if offsets is not None and partition in offsets.committed
        ]
        if candidates and min(candidates) < low:
            ranges.append(OffsetRange(partition, min(candidates), low - 1))
    return ranges


def was_recreated(previous: GroupOffsets, poll: GroupPoll) -> bool:
    """Whether the topic was deleted and created again since `previous`."""
    return previous.topic_id != poll.offsets.topic_id


def update_gaps(state: GapState, polls: Iterable[GroupPoll], now_ms: int) -> GapState:
    """Return the state after a poll of all groups, with the gaps that it found.

    A group has one gap, which grows. A group that does not run has the same gap in each poll.
    """
    groups, gaps = dict(state.groups), {gap.group: gap for gap in state.gaps}
    grown = False
    for poll in polls:
        previous = groups.get(poll.group)
        groups[poll.group] = poll.offsets.model_copy(update={"polled_ms": now_ms})
        deleted = previous is not None and was_recreated(previous, poll)
        # What the group cannot read of these messages was found by the previous poll.
        if previous is not None and not deleted and previous.lows == poll.offsets.lows:
            continue
        recent = deleted or (previous is not None and now_ms - previous.polled_ms < RECENT_MS)
        lost = lost_ranges(previous if recent else None, poll)
        topic_id = previous.topic_id if deleted and previous else poll.offsets.topic_id
        gap = gaps.get(poll.group) or OffsetGap(
            group=poll.group, topic=poll.topic, ranges={}, found_ms=now_ms, newest_ms=now_ms
        )
        present = tuple(map(OffsetRange.parse, gap.ranges.get(topic_id, ())))
        if not deleted and set(present).issuperset(lost):
            continue
        others = (offsets for offsets in present if not _covers(lost, offsets))
        ranges = tuple(map(str, sorted([*others, *lost])))
        gaps[poll.group] = gap.model_copy(
            update={
                "ranges": {**gap.ranges, topic_id: ranges},
                "deleted": gap.deleted or deleted,
                "newest_ms": now_ms,
            }
        )
        grown = True
    return GapState(
        groups=groups,
        gaps=tuple(gaps.values()),
        emission=Emission() if grown else state.emission,
    )


def _covers(lost: Iterable[OffsetRange], offsets: OffsetRange) -> bool:
    return any(
        longer.partition == offsets.partition
        and longer.first <= offsets.first
        and offsets.last <= longer.last
        for longer in lost
    )


def caught_up(polls: Iterable[GroupPoll]) -> bool:
    """Whether every group has read nearly everything that Kafka has, and nothing is missing."""
    return all(poll.lag <= CAUGHT_UP_LAG and not poll.is_before_gap for poll in polls)


def next_step(state: GapState, unanswered: int, limit: int, now_ms: int) -> Step:
    """Return what to do about the open gaps once all groups have caught up.

    `unanswered` is the number of patients whose newest change or deletion has not arrived. All
    patients are emitted again, because a lost correction of a measurement is not among them.
    Without a `limit` of patients to emit at a time, that is left to an operator.
    """
    if limit and state.emission.finished_ms is None:
        return "emit"
    newest_ms = max(gap.newest_ms for gap in state.gaps)
    if now_ms - max(newest_ms, state.emission.finished_ms or 0) < ANSWER_MS:
        return "wait"
    return "wait_for_operator" if unanswered else "close"


def poll_groups(servers: str) -> list[GroupPoll]:
    """Return the offsets of all groups. Raises KafkaException."""
    return [poll_group(servers, group, topic) for group, topic in GROUPS]


def poll_group(servers: str, group: str, topic_name: str) -> GroupPoll:
    """Return the offsets of one group in a topic. Raises KafkaException."""
    with (
        open_topic(topic_name, servers) as topic,
        AdminClient({"bootstrap.servers": servers, "log_level": 0}) as admin,
    ):
        topic_id = topic.topic_id()
        # Committed offsets only grow. So the first offsets are read before them, and the ends after
        # them: a group that reads on meanwhile must not look like one before or past the topic.
        lows = {partition: low for partition, (low, _) in topic.watermarks().items()}
        partitions = [TopicPartition(topic_name, partition) for partition in lows]
        request = [ConsumerGroupTopicPartitions(group, partitions)]
        futures = admin.list_consumer_group_offsets(request, request_timeout=_SECONDS)
        committed = futures[group].result().topic_partitions
        watermarks = topic.watermarks()
    # A topic that was just created again may have fewer partitions.
    lows = {partition: low for partition, low in lows.items() if partition in watermarks}
    offsets = GroupOffsets(
        topic_id=topic_id,
        # A negative offset means that the group has not committed one.
        committed={p.partition: p.offset for p in committed if p.offset >= 0},
        ends={partition: watermarks[partition][1] for partition in lows},
        lows=lows,
    )
    return GroupPoll(group, topic_name, offsets)
