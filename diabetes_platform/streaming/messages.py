"""A message of a topic as Kafka has it, and what its row has whatever the topic. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from pydantic import ValidationError

Row = dict[str, object]


class UnreadableError(ValueError):
    """A message that is no row: where it lies and all reasons, without its values."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message lies; `topic_id` is Kafka's id of the topic."""

    topic: str
    topic_id: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"


@dataclass(frozen=True, slots=True)
class TopicMessage:
    """A message as Kafka has it; in the sink topic a `value` of None says: deleted."""

    place: Place
    written_ms: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes | None] = field(default_factory=dict)


def place_columns(message: TopicMessage, day: date) -> Row:
    """Return the columns that say where and when the message was written."""
    return {
        "day": day.isoformat(),
        "topic_id": message.place.topic_id,
        "kafka_partition": message.place.partition,
        "kafka_offset": message.place.offset,
        "written_at": time_of(message.written_ms),
    }


def reasons_of(error: ValidationError) -> str:
    """Return all reasons in one line; the message's own values stay out of it."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    reasons = (f"{'.'.join(map(str, one['loc'])) or 'message'}: {one['type']}" for one in found)
    return ", ".join(sorted(reasons))


def time_of(milliseconds: int) -> datetime:
    """Return the time of milliseconds since 1970 (UTC)."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
