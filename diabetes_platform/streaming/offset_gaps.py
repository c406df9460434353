"""Offset gaps: messages that Kafka removed before a consumer group of the stream read them.

Flink and the predictor continue after a gap with the oldest message that Kafka still has, so only
their committed offsets show it. The decisions are pure functions over the state that the sensor
`offset_gaps` keeps in its cursor.
"""

from collections.abc import Iterable, Mapping
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
SETTLED_LAG = 100
"""Up to this lag, patients without an answer are not merely waiting for their turn."""
SETTLED_MS = 120_000
"""After this time, changes that were emitted again have an answer or a dead letter."""
_SECONDS = 5.0

Step = Literal["wait", "emit", "ask", "close"]
"""What to do about a gap; `ask` waits for `diabetes repair`."""


class GroupOffsets(BaseModel):
    """The next offset that a group will read, and the end of the topic, by partition.

    Partitions without a committed offset are left out of `committed`.
    """

    model_config = ConfigDict(frozen=True)

    topic_id: str
    committed: dict[int, int] = {}
    ends: dict[int, int] = {}


class OffsetGap(BaseModel):
    """Messages that a group can no longer read; `ranges` are written `partition:first-last`.

    `emitted_ms` is the time at which the patients without an answer were emitted again.
    """

    model_config = ConfigDict(frozen=True)

    group: str
    topic: str
    ranges: tuple[str, ...]
    found_ms: int
    emitted: int = 0
    emitted_ms: int | None = None

    @property
    def issue(self) -> HealthIssue:
        """The issue of its incident."""
        lost = sum(len(OffsetRange.parse(text)) for text in self.ranges)
        return HealthIssue(
            f"group {self.group}: offsets {', '.join(self.ranges)} of {self.topic}",
            f"were removed by Kafka before they were read ({lost:,} offsets): the affected "
            "patients are emitted again from the intake table, many of them and lost deletions by "
            "`diabetes repair`",
            first_ms=self.found_ms,
            urgent=True,
        )


class GapState(BaseModel):
    """What the sensor keeps between two polls: the offsets of each group, and the open gaps."""

    groups: dict[str, GroupOffsets] = {}
    gaps: tuple[OffsetGap, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupPoll:
    """The offsets of a group, and the first offset that Kafka has of each partition."""

    group: str
    topic: str
    offsets: GroupOffsets
    lows: Mapping[int, int]

    @property
    def lag(self) -> int:
        """The number of unread offsets; a partition without a commit counts as a whole."""
        committed, ends = self.offsets.committed, self.offsets.ends
        return sum(ends[p] - max(committed.get(p, low), low) for p, low in self.lows.items())


def lost_ranges(previous: GroupOffsets | None, poll: GroupPoll) -> list[OffsetRange]:
    """Return the offsets that Kafka removed since `previous` and that the group had not read.

    A group that has already continued after the gap is recognised by `previous`. Polls follow each
    other within seconds: Kafka does not remove what was read in between.
    """
    current = poll.offsets
    if previous is not None and previous.topic_id != current.topic_id:
        # The topic was deleted and created again, with all that was unread.
        return [
            OffsetRange(partition, offset, previous.ends[partition] - 1)
            for partition, offset in sorted(previous.committed.items())
            if offset < previous.ends.get(partition, 0)
        ]
    ranges = []
    for partition, low in sorted(poll.lows.items()):
        candidates = [
            offsets.committed[partition]
            for offsets in (previous, current)
            if offsets is not None and partition in offsets.committed
        ]
        if candidates and min(candidates) < low:
            ranges.append(OffsetRange(partition, min(candidates), low - 1))
    return ranges


def update_gaps(state: GapState, polls: Iterable[GroupPoll], now_ms: int) -> GapState:
    """Return the state after a poll of all groups, with the gaps that it found."""
    groups, gaps = dict(state.groups), list(state.gaps)
    for poll in polls:
        lost = lost_ranges(groups.get(poll.group), poll)
        groups[poll.group] = poll.offsets
        ranges = tuple(map(str, lost))
        open_gaps = [gap for gap in gaps if gap.group == poll.group]
        # A group that does not run has the same gap in each poll, or a longer one.
        if {text for gap in open_gaps for text in gap.ranges}.issuperset(ranges):
            continue
        shorter = [gap for gap in open_gaps if _covers(lost, gap)]
        gaps = [gap for gap in gaps if gap not in shorter]
        gaps.append(OffsetGap(group=poll.group, topic=poll.topic, ranges=ranges, found_ms=now_ms))
    return GapState(groups=groups, gaps=tuple(gaps))


def _covers(lost: Iterable[OffsetRange], gap: OffsetGap) -> bool:
    """Whether `lost` contains all offsets of an open gap."""
    longest = {offsets.partition: offsets for offsets in lost}
    return all(
        offsets.partition in longest
        and longest[offsets.partition].first <= offsets.first
        and offsets.last <= longest[offsets.partition].last
        for offsets in map(OffsetRange.parse, gap.ranges)
    )


def settled(polls: Iterable[GroupPoll]) -> bool:
    """Whether every group has read nearly everything that Kafka has, and nothing is missing."""
    return all(
        poll.lag <= SETTLED_LAG
        and all(poll.offsets.committed.get(p, low) >= low for p, low in poll.lows.items())
        for poll in polls
    )


def next_step(gap: OffsetGap, waiting: int, limit: int, now_ms: int) -> Step:
    """Return what to do about a gap once all groups have settled.

    `waiting` is the number of patients without an answer, up to `limit` + 1. Patients whom the
    stream rejects keep waiting, so a gap is closed some time after its patients were emitted again.
    """
    if waiting == 0:
        return "close"
    if gap.emitted_ms is not None:
        return "close" if now_ms - gap.emitted_ms >= SETTLED_MS else "wait"
    return "emit" if waiting <= limit else "ask"


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
        # Before the watermarks: an offset that is committed later must not look like a gap.
        watermarks = topic.watermarks()
        partitions = [TopicPartition(topic_name, partition) for partition in watermarks]
        request = [ConsumerGroupTopicPartitions(group, partitions)]
        futures = admin.list_consumer_group_offsets(request, request_timeout=_SECONDS)
        committed = futures[group].result().topic_partitions
    offsets = GroupOffsets(
        topic_id=topic_id,
        # A negative offset means that the group has not committed one.
        committed={p.partition: p.offset for p in committed if p.offset >= 0},
        ends={partition: high for partition, (_, high) in watermarks.items()},
    )
    lows = {partition: low for partition, (low, _) in watermarks.items()}
    return GroupPoll(group, topic_name, offsets, lows)
