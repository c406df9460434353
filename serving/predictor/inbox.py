"""The sink topic as a member of the group `predictor` reads it.

Offsets are stored only once their messages need not be read again; the client commits what is
stored every `_COMMIT_MS`, before partitions go to another member, and when it closes.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from diabetes_platform.contract.events import PREDICTOR_GROUP, SINK_TOPIC
from serving.predictor.messages import Change, Deleted, Place, Rejected, read_message
from serving.predictor.metrics import PredictorMetrics

logger = logging.getLogger("serving.predictor.inbox")

_COMMIT_MS = 200
_ANSWER_SECONDS = 0.5
_BEGINNING = 0


@dataclass(frozen=True, slots=True)
class Received:
    """A message, read."""

    place: Place
    content: Change | Deleted | Rejected


class Inbox:
    """One member of the group; not to be shared by threads. Raises KafkaException when fatal."""

    def __init__(self, servers: str, metrics: PredictorMetrics) -> None:
        self.joined = False
        self._metrics = metrics
        # None where the broker has not yet said what the group has read.
        self._next: dict[int, int | None] = {}
        self._paused = False
        options = {**_options(servers), "on_commit": self._committed}
        self._consumer = Consumer(options, logger=logger)

    @property
    def partitions(self) -> int:
        """How many partitions this member has."""
        return len(self._next)

    def subscribe(self) -> None:
        """Join the group."""
        self._consumer.subscribe(
            [SINK_TOPIC], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )

    def receive(self, most: int, seconds: float) -> list[Received]:
        """Return what is there, `most` at the most; waits only where nothing is."""
        first = self._consumer.poll(seconds)
        if first is None:
            return []
        # `consume` waits for as many as it may: what has arrived is asked for without a wait.
        messages = [first, *(self._consumer.consume(most - 1, 0) if most > 1 else [])]
        return [_received(one) for one in messages if not self._failed(one)]

    def keep(self, messages: Sequence[Received]) -> list[Received]:
        """Return those of partitions that are still this member's."""
        return [one for one in messages if one.place.partition in self._next]

    def wait(self, seconds: float) -> None:
        """Stay in the group for `seconds` without receiving anything."""
        self._pause()
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            message = self._consumer.poll(left)
            # Whatever slips through a pause is read again from where this member has got to.
            if message is not None and not self._failed(message):
                self._consumer.seek(_next_of(message, 0))

    def go_on(self) -> None:
        """Receive again after `wait`."""
        if self._paused:
            self._paused = False
            self._consumer.resume(self._places())

    def done_with(self, messages: Sequence[Received]) -> None:
        """Let the group's offsets pass `messages`."""
        ends = {one.place.partition: one.place.offset + 1 for one in self.keep(messages)}
        self._next |= ends
        if ends:
            places = [TopicPartition(SINK_TOPIC, *end) for end in ends.items()]
            self._consumer.store_offsets(offsets=places)

    def lags(self) -> dict[int, int]:
        """Return for each partition of this member how many messages lie ahead, deleted included.

        Where the broker does not say, the partition is left out.
        """
        self._ask_where_to_begin()
        found = {}
        for partition, begin in self._next.items():
            # While paused nothing is fetched, so that what the client has seen gets old.
            marks = self._watermarks(partition, cached=not self._paused)
            if begin is not None and marks is not None and marks[1] >= 0:
                found[partition] = max(0, marks[1] - begin)
        return found

    def close(self) -> None:
        """Leave the group, offsets committed."""
        self._consumer.close()

    def _places(self) -> list[TopicPartition]:
        return [TopicPartition(SINK_TOPIC, partition) for partition in self._next]

    def _ask_where_to_begin(self) -> None:
        """Ask what the group has read of the partitions that are new here."""
        new = [place for place in self._places() if self._next[place.partition] is None]
        try:
            committed = self._consumer.committed(new, timeout=_ANSWER_SECONDS) if new else []
        except KafkaException as error:
            logger.debug("no offsets: %s", error)
            return
        for place in committed:
            if place.error is None:
                self._next[place.partition] = max(place.offset, _BEGINNING)

    def _watermarks(self, partition: int, *, cached: bool) -> tuple[int, int] | None:
        """Return the first and the next offset; None where the broker does not answer."""
        place = TopicPartition(SINK_TOPIC, partition)
        try:
            return self._consumer.get_watermark_offsets(
                place, timeout=_ANSWER_SECONDS, cached=cached
            )
        except KafkaException as error:
            logger.debug("no watermarks: %s", error)
            return None

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._consumer.pause(self._places())

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._next |= {place.partition: None for place in places}
        consumer.incremental_assign(places)
        if self._paused:
            consumer.pause(places)
        self.joined = True
        logger.info("partitions now: %s", sorted(self._next))

    def _revoked(self, _consumer: Consumer, places: list[TopicPartition]) -> None:
        for place in places:
            self._next.pop(place.partition, None)
        logger.info("partitions now: %s", sorted(self._next))

    def _committed(self, error: KafkaError | None, _places: list[TopicPartition]) -> None:
        if error is not None:
            logger.warning("offsets not committed: %s", error.str())
            self._metrics.offset_failures.inc()

    def _failed(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return False
        if error.fatal():
            raise KafkaException(error)
        logger.warning("%s: %s", SINK_TOPIC, error.str())
        self._metrics.failures.labels("kafka").inc()
        return True


def _options(servers: str) -> dict[str, object]:
    return {
        "bootstrap.servers": servers,
        "client.id": "predictor",
        "group.id": PREDICTOR_GROUP,
        "partition.assignment.strategy": "cooperative-sticky",
        # A member that was killed is missed for as long.
        "session.timeout.ms": 6_000,
        "heartbeat.interval.ms": 2_000,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": True,
        "auto.commit.interval.ms": _COMMIT_MS,
        "enable.auto.offset.store": False,
        "fetch.wait.max.ms": 20,
        # Half a second ahead of a backlog, and no second's rest when that is reached.
        "queued.min.messages": 5_000,
        "fetch.queue.backoff.ms": 10,
        "reconnect.backoff.max.ms": 1_000,
        "error_cb": _tell_error,
    }


def _tell_error(error: KafkaError) -> None:
    logger.warning("Kafka: %s", error.str())


def _next_of(message: Message, passed: int) -> TopicPartition:
    return TopicPartition(SINK_TOPIC, message.partition() or 0, (message.offset() or 0) + passed)


def _received(message: Message) -> Received:
    kind, stamp = message.timestamp()
    produced_ms = 0 if kind == TIMESTAMP_NOT_AVAILABLE else stamp
    place = Place(SINK_TOPIC, message.partition() or 0, message.offset() or 0, produced_ms)
    return Received(place, read_message(place, message.key(), message.value()))
