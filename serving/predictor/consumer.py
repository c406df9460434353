"""The consumer of the sink topic in the group `predictor`.

`PredictionConsumer.commit` only stores offsets. The client commits the stored offsets every
`_COMMIT_MS`, when partitions are revoked, and when it closes.
"""

import logging
import time
from collections.abc import Sequence

from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from diabetes_platform.contract.topics import PREDICTOR_GROUP, SINK_TOPIC
from serving.predictor.messages import ConsumedMessage, read_message
from serving.predictor.metrics import PredictorMetrics

logger = logging.getLogger("serving.predictor.consumer")

_MAX_POLL_INTERVAL_MS = 12_000
_COMMIT_MS = 200
_BROKER_TIMEOUT_SECONDS = 0.5


class PredictionConsumer:
    """One member of the consumer group. Not thread-safe. Raises KafkaException on fatal errors."""

    def __init__(self, servers: str, metrics: PredictorMetrics) -> None:
        self.joined = False
        self._metrics = metrics
        # The next offset of each assigned partition; None until the broker has returned it.
        self._next_offsets: dict[int, int | None] = {}
        self._paused = False
        options = {**_options(servers), "on_commit": self._on_commit}
        self._consumer = Consumer(options, logger=logger)

    @property
    def partitions(self) -> int:
        """The number of partitions assigned to this member."""
        return len(self._next_offsets)

    def topic_partitions(self) -> int:
        """Return the number of partitions of the topic; 0 if it does not exist.

        Raises KafkaException if the broker does not respond.
        """
        metadata = self._consumer.list_topics(SINK_TOPIC, timeout=_BROKER_TIMEOUT_SECONDS)
        return len(metadata.topics[SINK_TOPIC].partitions)

    def subscribe(self) -> None:
        """Join the group."""
        self._consumer.subscribe(
            [SINK_TOPIC],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )

    def poll(self, max_messages: int, timeout: float) -> list[ConsumedMessage]:
        """Return up to `max_messages` available messages; wait `timeout` seconds for the first."""
        message = self._consumer.poll(timeout)
        if message is None:
            return []
        # `consume` would wait for `max_messages`: a timeout of 0 returns the available ones.
        messages = [message]
        if max_messages > 1:
            messages += self._consumer.consume(max_messages - 1, 0)
        return [_decode(message) for message in messages if not self._is_error(message)]

    def assigned(self, messages: Sequence[ConsumedMessage]) -> list[ConsumedMessage]:
        """Return the messages of partitions that are still assigned to this member."""
        return [message for message in messages if message.partition in self._next_offsets]

    def pause(self, seconds: float) -> None:
        """Stay in the group for `seconds` without consuming; `resume` ends the pause."""
        if not self._paused:
            self._paused = True
            self._consumer.pause(self._assignment())
        deadline = time.monotonic() + seconds
        while (remaining := deadline - time.monotonic()) > 0:
            message = self._consumer.poll(remaining)
            # A message that was fetched before the pause is consumed again later.
            if message is not None and not self._is_error(message):
                self._consumer.seek(_position(message))

    def resume(self) -> None:
        """Continue to consume after `pause`."""
        if self._paused:
            self._paused = False
            self._consumer.resume(self._assignment())

    def commit(self, messages: Sequence[ConsumedMessage]) -> None:
        """Mark `messages` as processed; the client commits their offsets within `_COMMIT_MS`."""
        offsets = {message.partition: message.offset + 1 for message in self.assigned(messages)}
        self._next_offsets |= offsets
        if offsets:
            self._consumer.store_offsets(
                offsets=[TopicPartition(SINK_TOPIC, *offset) for offset in offsets.items()]
            )

    def lags(self) -> dict[int, int]:
        """Return the lag of each assigned partition in offsets, compacted messages included.

        Partitions for which the broker does not respond are left out.
        """
        self._fetch_committed_offsets()
        lags = {}
        for partition, next_offset in self._next_offsets.items():
            watermarks = self._watermarks(partition)
            if next_offset is not None and watermarks is not None and watermarks[1] >= 0:
                lags[partition] = max(0, watermarks[1] - next_offset)
        return lags

    def close(self) -> None:
        """Commit stored offsets and leave the group."""
        self._consumer.close()

    def _assignment(self) -> list[TopicPartition]:
        return [TopicPartition(SINK_TOPIC, partition) for partition in self._next_offsets]

    def _fetch_committed_offsets(self) -> None:
        """Set the next offset of newly assigned partitions to the group's committed offset."""
        unknown = [
            TopicPartition(SINK_TOPIC, partition)
            for partition, next_offset in self._next_offsets.items()
            if next_offset is None
        ]
        if not unknown:
            return
        try:
            committed = self._consumer.committed(unknown, timeout=_BROKER_TIMEOUT_SECONDS)
        except KafkaException as error:
            logger.debug("cannot fetch committed offsets: %s", error)
            return
        for partition in committed:
            if partition.error is None:
                # A negative offset means that the group has not committed one.
                self._next_offsets[partition.partition] = max(partition.offset, 0)

    def _watermarks(self, partition: int) -> tuple[int, int] | None:
        """Return the low and high watermarks; None if the broker does not respond."""
        try:
            return self._consumer.get_watermark_offsets(
                TopicPartition(SINK_TOPIC, partition),
                timeout=_BROKER_TIMEOUT_SECONDS,
                # While paused nothing is fetched, so the client's cached watermarks become stale.
                cached=not self._paused,
            )
        except KafkaException as error:
            logger.debug("cannot fetch watermarks: %s", error)
            return None

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._next_offsets |= {partition.partition: None for partition in partitions}
        consumer.incremental_assign(partitions)
        if self._paused:
            consumer.pause(partitions)
        self.joined = True
        logger.info("assigned partitions: %s", sorted(self._next_offsets))

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._next_offsets.pop(partition.partition, None)
        logger.info("assigned partitions: %s", sorted(self._next_offsets))

    def _on_commit(self, error: KafkaError | None, _partitions: list[TopicPartition]) -> None:
        if error is not None:
            logger.warning("cannot commit offsets: %s", error.str())
            self._metrics.offset_failures.inc()

    def _is_error(self, message: Message) -> bool:
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
        # How long the partitions of a killed member are idle.
        "session.timeout.ms": 6_000,
        "heartbeat.interval.ms": 2_000,
        # Also how long each of a rebalance's two phases waits for a member that was killed in it.
        # A batch takes less: dead letters 4 s, connection 2 s, transaction 5 s.
        "max.poll.interval.ms": _MAX_POLL_INTERVAL_MS,
        # Finds a topic that was deleted and created again; the default is five minutes.
        "topic.metadata.refresh.interval.ms": 10_000,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": True,
        "auto.commit.interval.ms": _COMMIT_MS,
        "enable.auto.offset.store": False,
        # A partition whose queue was full waits for the pending fetch of the others. The broker
        # answers each fetch of an idle topic after this time: 20 ms cost a tenth of a core.
        "fetch.wait.max.ms": 100,
        # Enough messages for half a second of a backlog, and a short back-off at that limit (the
        # default is one second).
        "queued.min.messages": 5_000,
        "fetch.queue.backoff.ms": 10,
        "reconnect.backoff.max.ms": 1_000,
        "error_cb": _log_error,
    }


def _log_error(error: KafkaError) -> None:
    logger.warning("Kafka: %s", error.str())


def _position(message: Message) -> TopicPartition:
    return TopicPartition(SINK_TOPIC, message.partition() or 0, message.offset() or 0)


def _decode(message: Message) -> ConsumedMessage:
    timestamp_type, timestamp = message.timestamp()
    produced_ms = 0 if timestamp_type == TIMESTAMP_NOT_AVAILABLE else timestamp
    position = _position(message)
    return read_message(
        position.partition, position.offset, produced_ms, message.key(), message.value()
    )
