"""Reading a topic by offsets, without a consumer group and without commits at the broker."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka import TopicCollection as Names
from confluent_kafka.admin import AdminClient

from diabetes_platform.lake.incremental_table import OffsetRange

_REQUEST_SECONDS = 5.0
_IDLE_SECONDS = 30.0
"""Long enough for a broker to restart."""
_POLL_MESSAGES = 1000
GROUP = "platform-offset-reader"
"""The client requires a consumer group; nothing is committed for it."""


class OffsetsDeletedError(RuntimeError):
    """Kafka has deleted the requested offsets; the message names them."""


@dataclass(frozen=True, slots=True)
class TopicPartitionOffset:
    """The position of a message; `topic_id` is Kafka's id of the topic."""

    topic: str
    topic_id: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"


@dataclass(frozen=True, slots=True)
class TopicMessage:
    """A message as Kafka has it; `value` is None for a tombstone."""

    position: TopicPartitionOffset
    written_ms: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes | None] = field(default_factory=dict)


class Topic:
    """One topic, open for the `with` block of `open_topic`.

    Every method may raise KafkaException.
    """

    def __init__(self, name: str, consumer: Consumer, admin: AdminClient) -> None:
        self.name = name
        self._consumer, self._admin = consumer, admin
        self._day_starts: dict[date, dict[int, int]] = {}

    def topic_id(self) -> str:
        """Return Kafka's id: a topic that is deleted and created again has another one."""
        topics = self._admin.describe_topics(Names([self.name]), request_timeout=_REQUEST_SECONDS)
        return str(topics[self.name].result().topic_id)

    def watermarks(self) -> dict[int, tuple[int, int]]:
        """Return the first available offset and that of the next message, by partition."""
        topics = self._consumer.list_topics(self.name, timeout=_REQUEST_SECONDS).topics
        metadata = topics[self.name]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        return {partition: self._watermarks(partition) for partition in sorted(metadata.partitions)}

    def offsets_at(self, timestamp_ms: int) -> dict[int, int]:
        """Return the offset of the first message written then or later, by partition.

        It is the partition's end if no message is so new.
        """
        ends = {partition: high for partition, (_, high) in self.watermarks().items()}
        offsets = self._consumer.offsets_for_times(
            [TopicPartition(self.name, partition, timestamp_ms) for partition in ends],
            timeout=_REQUEST_SECONDS,
        )
        return {o.partition: o.offset if o.offset >= 0 else ends[o.partition] for o in offsets}

    def day_starts(self, day: date) -> dict[int, int]:
        """Return the offset at which `day` starts, by partition; cached after the first call."""
        if day not in self._day_starts:
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
            self._day_starts[day] = self.offsets_at(int(midnight.timestamp() * 1000))
        return self._day_starts[day]

    def read(
        self, topic_id: str, offsets: OffsetRange, deadline: float = math.inf
    ) -> Iterator[TopicMessage]:
        """Yield the messages of a range, except those that compaction has removed.

        At `deadline`, a time of `time.monotonic`, it ends early and without an error. Raises
        OffsetsDeletedError if Kafka has deleted the topic with this id, or a part of the range,
        also during the read.
        """
        self._consumer.assign([TopicPartition(self.name, offsets.partition, offsets.first)])
        try:
            for message in self._messages(topic_id, offsets, deadline):
                yield _topic_message(self.name, topic_id, message)
        finally:
            self._consumer.unassign()
        # Kafka deletes the oldest offsets first: if the first one still exists, so do the others.
        if time.monotonic() < deadline:
            self.require(topic_id, offsets)

    def require(self, topic_id: str, offsets: OffsetRange) -> None:
        """Raise OffsetsDeletedError unless the topic has this id and the whole range."""
        partition, text = f"{self.name}-{offsets.partition}", f"{offsets.first} to {offsets.last}"
        if self.topic_id() != topic_id:
            raise OffsetsDeletedError(
                f"{partition}: the topic with id {topic_id} was deleted and created again before "
                f"its offsets {text} were ingested"
            )
        low, high = self._watermarks(offsets.partition)
        if offsets.first < low or offsets.last >= high:
            raise OffsetsDeletedError(
                f"{partition}: Kafka has deleted offsets of {text}; available: {low} to {high - 1}"
            )

    def _messages(self, topic_id: str, offsets: OffsetRange, deadline: float) -> Iterator[Message]:
        idle_deadline = time.monotonic() + _IDLE_SECONDS
        while time.monotonic() < deadline:
            for message in self._consumer.consume(min(_POLL_MESSAGES, len(offsets)), 0.2):
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                    return
                if error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - its public name
                    self.require(topic_id, offsets)
                if error is not None:
                    raise KafkaException(error)
                if (message.offset() or 0) > offsets.last:
                    return
                yield message
                if message.offset() == offsets.last:
                    return
                idle_deadline = time.monotonic() + _IDLE_SECONDS
            if time.monotonic() > idle_deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - its public name

    def _watermarks(self, partition: int) -> tuple[int, int]:
        low, high = self._consumer.get_watermark_offsets(
            TopicPartition(self.name, partition), timeout=_REQUEST_SECONDS
        )
        return low, high


@contextmanager
def open_topic(name: str, servers: str) -> Iterator[Topic]:
    """Yield a topic; `servers` is Kafka's `host:port,…`."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": GROUP,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            # A fetch past the end would delay the next range by the default of half a second.
            "fetch.wait.max.ms": 10,
            # Deleted offsets are an error; the client must not skip them.
            "auto.offset.reset": "error",
        }
    )
    try:
        with AdminClient({"bootstrap.servers": servers, "log_level": 0}) as admin:
            yield Topic(name, consumer, admin)
    finally:
        consumer.close()


def _topic_message(topic: str, topic_id: str, message: Message) -> TopicMessage:
    position = TopicPartitionOffset(
        topic, topic_id, message.partition() or 0, message.offset() or 0
    )
    _, written_ms = message.timestamp()
    headers = {name: _as_bytes(value) for name, value in dict(message.headers() or []).items()}
    return TopicMessage(
        position, written_ms, _as_bytes(message.key()), _as_bytes(message.value()), headers
    )


def _as_bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
