"""Polling of the dead-letter topic, and the health issues that new dead letters are.

Only headers are read, and no offset is committed. `rows.rejected_row` turns a dead letter into a
row of the lake.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from diabetes_platform.contract.events import DEAD_LETTER_HEADERS, REJECTED_TOPIC
from diabetes_platform.streaming.incidents import HealthIssue, IncidentPolicy

REJECTION_POLICY = IncidentPolicy(opens_after_ms=0, resolves_after_ms=300_000)
"""The intake table's constraints are as strict as the stream's rules, so one dead letter is enough
to open an incident."""
NO_REASONS = "reasons:missing"
"""The reason of a message in the topic that the platform has not written."""
MAX_MESSAGES = 5000
"""A poll reads at most this many of the newest messages of a partition."""
FIRST_POLL_MS = 600_000
"""The first poll goes back ten minutes."""
_SECONDS = 5.0
_BATCH = 500
_GROUP = "dead-letter-alerts"
"""The client requires a group; nothing is ever committed for it."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A rejected record: its reasons, time (ms since 1970) and `topic-partition-offset`."""

    reasons: tuple[str, ...]
    rejected_ms: int
    position: str


@dataclass(frozen=True, slots=True)
class DeadLetterPoll:
    """New dead letters, and the offset of each partition at which the next poll starts."""

    letters: tuple[DeadLetter, ...]
    offsets: dict[int, int]


def poll_dead_letters(servers: str, offsets: Mapping[int, int], now_ms: int) -> DeadLetterPoll:
    """Read the dead letters since `offsets`, for at most five seconds.

    `servers` is Kafka's `host:port,…`. The next poll reads what this one had no time for. Raises
    KafkaException.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": _GROUP,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        watermarks = _watermarks(consumer)
        starts = {
            partition: _start(consumer, offsets.get(partition), partition, low, high, now_ms)
            for partition, (low, high) in watermarks.items()
        }
        consumer.assign([TopicPartition(REJECTED_TOPIC, *start) for start in starts.items()])
        ends = {partition: high for partition, (_, high) in watermarks.items()}
        letters, next_offsets = _read(consumer, starts, ends)
    finally:
        consumer.close()
    return DeadLetterPoll(tuple(letters), next_offsets)


def rejection_issues(letters: Iterable[DeadLetter]) -> list[HealthIssue]:
    """Return an issue for each reason, in the order of appearance.

    Its problem is the position of the first dead letter.
    """
    by_reason: dict[str, list[DeadLetter]] = {}
    for letter in letters:
        for reason in dict.fromkeys(letter.reasons or (NO_REASONS,)):
            by_reason.setdefault(reason, []).append(letter)
    return [
        HealthIssue(
            subject=reason,
            problem=rejected[0].position,
            count=len(rejected),
            first_ms=rejected[0].rejected_ms,
            last_ms=max(letter.rejected_ms for letter in rejected),
        )
        for reason, rejected in by_reason.items()
    ]


def start_offset(saved: int, low: int, high: int, limit: int) -> int:
    """Return the offset to continue from; `saved` is the end of the last poll.

    The partition has the offsets from `low` to below `high`. A recreated topic is
    read from its beginning, and only the newest `limit` messages of a backlog are read.
    """
    return max(low if saved > high else saved, low, high - limit)


def parse_reasons(header: str | bytes | None) -> tuple[str, ...]:
    """Return the reasons in a dead letter's header; NO_REASONS if it has no readable reason."""
    try:
        reasons = json.loads(header or "[]")
    except ValueError:
        reasons = []
    return tuple(map(str, reasons if isinstance(reasons, list) else ())) or (NO_REASONS,)


def _watermarks(consumer: Consumer) -> dict[int, tuple[int, int]]:
    """Return the low and high watermark of each partition."""
    metadata = consumer.list_topics(REJECTED_TOPIC, timeout=_SECONDS).topics[REJECTED_TOPIC]
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    return {
        number: consumer.get_watermark_offsets(
            TopicPartition(REJECTED_TOPIC, number), timeout=_SECONDS
        )
        for number in metadata.partitions
    }


def _start(
    consumer: Consumer, saved: int | None, partition: int, low: int, high: int, now_ms: int
) -> int:
    if saved is None:
        query = TopicPartition(REJECTED_TOPIC, partition, now_ms - FIRST_POLL_MS)
        (answer,) = consumer.offsets_for_times([query], timeout=_SECONDS)
        # The offset is negative if no message is that recent.
        saved = answer.offset if answer.offset >= 0 else high
    return start_offset(saved, low, high, MAX_MESSAGES)


def _read(
    consumer: Consumer, starts: Mapping[int, int], ends: Mapping[int, int]
) -> tuple[list[DeadLetter], dict[int, int]]:
    """Return the dead letters from `starts` to `ends`, and the next offset of each partition."""
    letters: list[DeadLetter] = []
    offsets = dict(starts)
    deadline = time.monotonic() + _SECONDS
    while any(offsets[number] < ends[number] for number in ends) and time.monotonic() < deadline:
        for message in consumer.consume(_BATCH, 0.2):
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            letters.append(_parse(message))
            offsets[message.partition() or 0] = (message.offset() or 0) + 1
    return letters, offsets


def _parse(message: Message) -> DeadLetter:
    headers = dict(message.headers() or [])
    _, written_ms = message.timestamp()
    position = f"{message.topic()}-{message.partition()}-{message.offset()}"
    return DeadLetter(parse_reasons(headers.get(DEAD_LETTER_HEADERS.reasons)), written_ms, position)
