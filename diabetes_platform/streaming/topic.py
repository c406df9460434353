"""Asking and reading a topic by offsets: no group, nothing committed, no trace at the broker."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka import TopicCollection as Names
from confluent_kafka.admin import AdminClient

from diabetes_platform.streaming.messages import Place, TopicMessage
from diabetes_platform.streaming.ranges import Range

_SECONDS = 5.0
"""For one answer of the broker."""
_IDLE_SECONDS = 30.0
"""A broker that is being restarted is waited for."""
_AT_ONCE = 1000
_GROUP = "stream-patients"
"""Demanded by the client; nothing is ever committed for it."""


class RangeGoneError(RuntimeError):
    """Offsets that the topic no longer has; the message names them."""


class Topic:
    """One topic, for as long as the `with` block of `opened` lasts. Every method may raise
    KafkaException.
    """

    def __init__(self, name: str, servers: str, consumer: Consumer) -> None:
        self.name = name
        self._servers, self._consumer = servers, consumer
        self._begins: dict[date, dict[int, int]] = {}

    def topic_id(self) -> str:
        """Return Kafka's id: a topic of the same name that is made anew gets another."""
        with AdminClient({"bootstrap.servers": self._servers, "log_level": 0}) as admin:
            answers = admin.describe_topics(Names([self.name]), request_timeout=_SECONDS)
            return str(answers[self.name].result().topic_id)

    def ends(self) -> dict[int, tuple[int, int]]:
        """Return by partition the first offset kept and the offset of the next message."""
        metadata = self._consumer.list_topics(self.name, timeout=_SECONDS).topics[self.name]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        return {number: self._watermarks(number) for number in sorted(metadata.partitions)}

    def begins(self, day: date) -> dict[int, int]:
        """Return by partition where `day` begins: one question, asked once."""
        if day not in self._begins:
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
            ends = self.ends()
            asked = [TopicPartition(self.name, p, int(midnight.timestamp() * 1000)) for p in ends]
            found = self._consumer.offsets_for_times(asked, timeout=_SECONDS)
            # Where nothing is that young the answer is a code below 0.
            self._begins[day] = {
                one.partition: one.offset if one.offset >= 0 else ends[one.partition][1]
                for one in found
            }
        return self._begins[day]

    def read(self, topic_id: str, wanted: Range) -> Iterator[TopicMessage]:
        """Yield the messages of a range; offsets that compaction took away have none.

        Raises RangeGoneError where Kafka has deleted a part of it, before or meanwhile.
        """
        self._consumer.assign([TopicPartition(self.name, wanted.partition, wanted.first)])
        try:
            for message in self._messages(wanted):
                _, written_ms = message.timestamp()
                place = Place(self.name, topic_id, wanted.partition, message.offset() or 0)
                told = dict(message.headers() or [])
                headers = {name: _bytes(each) for name, each in told.items()}
                key, value = _bytes(message.key()), _bytes(message.value())
                yield TopicMessage(place, written_ms, key, value, headers)
        finally:
            self._consumer.unassign()
        # Segments are deleted from the front: what was kept until now was kept when it was read.
        self.require(wanted)

    def require(self, wanted: Range) -> None:
        """Raise RangeGoneError unless the topic has all of a range."""
        low, high = self._watermarks(wanted.partition)
        if wanted.first < low or wanted.last >= high:
            raise RangeGoneError(
                f"{self.name}-{wanted.partition}: given offsets {wanted.first} to {wanted.last}, "
                f"allowed {low} to {high - 1}: Kafka has deleted the others"
            )

    def _messages(self, wanted: Range) -> Iterator[Message]:
        deadline = time.monotonic() + _IDLE_SECONDS
        while True:
            for message in self._consumer.consume(min(_AT_ONCE, len(wanted)), 0.2):
                problem = message.error()
                if problem is not None and problem.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                    return
                if problem is not None and problem.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - its public name
                    self.require(wanted)
                if problem is not None:
                    raise KafkaException(problem)
                if (message.offset() or 0) > wanted.last:
                    return
                yield message
                if message.offset() == wanted.last:
                    return
                deadline = time.monotonic() + _IDLE_SECONDS
            if time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - its public name

    def _watermarks(self, partition: int) -> tuple[int, int]:
        place = TopicPartition(self.name, partition)
        low, high = self._consumer.get_watermark_offsets(place, timeout=_SECONDS)
        return low, high


@contextmanager
def opened(name: str, servers: str) -> Iterator[Topic]:
    """Yield a topic; `servers` is Kafka's `host:port,…`."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": _GROUP,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            # The next range would wait for the end of a question about what comes after this one.
            "fetch.wait.max.ms": 10,
            # What Kafka has deleted is an error and no jump over it.
            "auto.offset.reset": "error",
        }
    )
    try:
        yield Topic(name, servers, consumer)
    finally:
        consumer.close()


def _bytes(given: str | bytes | None) -> bytes | None:
    return given.encode() if isinstance(given, str) else given
