"""Polling of the dead-letter topic, and the health issues that new dead letters are.

Only headers are read, and no offset is committed. `rows.rejected_row` turns a dead letter into a
row of the lake.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from diabetes_platform.contract.topics import DEAD_LETTER_HEADERS, REJECTED_TOPIC
from diabetes_platform.lake.incremental_table import OffsetRange
from diabetes_platform.streaming.incidents import HealthIssue, IncidentPolicy
from diabetes_platform.streaming.topic import open_topic

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
    KafkaException, and OffsetsDeletedError if Kafka deletes the messages during the poll.
    """
    letters: list[DeadLetter] = []
    next_offsets: dict[int, int] = {}
    deadline = time.monotonic() + _SECONDS
    with open_topic(REJECTED_TOPIC, servers) as topic:
        topic_id, starts = topic.topic_id(), topic.offsets_at(now_ms - FIRST_POLL_MS)
        for partition, (low, high) in topic.watermarks().items():
            saved = offsets.get(partition, starts[partition])
            start = next_offsets[partition] = start_offset(saved, low, high, MAX_MESSAGES)
            if start == high:
                continue
            for message in topic.read(topic_id, OffsetRange(partition, start, high - 1), deadline):
                reasons = parse_reasons(message.headers.get(DEAD_LETTER_HEADERS.reasons))
                letters.append(DeadLetter(reasons, message.written_ms, str(message.position)))
                next_offsets[partition] = message.position.offset + 1
            if time.monotonic() < deadline:
                # The last offsets may have no message.
                next_offsets[partition] = high
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
