"""Messages of the sink topic as Flink writes them, and topics that one test owns."""

import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from diabetes_platform.polling import wait_until
from diabetes_platform.streaming.topic import open_topic
from diabetes_platform_tests.capture import Kafka
from diabetes_platform_tests.samples import EXAMPLE

COMPACTED = {"cleanup.policy": "compact"}

Record = tuple[bytes | None, bytes | None]


def key_of(intake_id: int) -> bytes:
    return json.dumps({"id": intake_id}).encode()


def image(intake_id: int, lsn: int, /, **changed: object) -> dict[str, object]:
    written_ms = time.time_ns() // 1_000_000
    return {
        "id": intake_id,
        "received_at": "2026-11-24T12:00:00.123456Z",
        **EXAMPLE,
        "outcome": None,
        "outcome_recorded_at": None,
        "op": "c",
        "lsn": lsn,
        "changed_ms": written_ms - 30,
        "captured_ms": written_ms - 20,
        "judged_ms": written_ms - 10,
        **changed,
    }


def message(intake_id: int, lsn: int, /, **changed: object) -> Record:
    return key_of(intake_id), json.dumps(image(intake_id, lsn, **changed)).encode()


def tombstone(intake_id: int) -> Record:
    return key_of(intake_id), None


@contextmanager
def own_topic(
    kafka: Kafka, partitions: int = 1, config: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Yield a topic that only this test uses."""
    name = f"test_{secrets.token_hex(6)}"
    create(kafka, name, partitions, config)
    yield name
    remove(kafka, name)


def create(
    kafka: Kafka, name: str, partitions: int = 1, config: Mapping[str, str] | None = None
) -> None:
    topic = NewTopic(name, partitions, replication_factor=1, config=dict(config or {}))
    kafka.admin.create_topics([topic])[name].result(30)
    wait_until(lambda: has_leaders(kafka, name, partitions), timeout=30)


def has_leaders(kafka: Kafka, name: str, partitions: int) -> bool:
    """Whether every partition has a leader, which takes a moment after its creation."""
    try:
        with open_topic(name, kafka.bootstrap_servers) as topic:
            return len(topic.watermarks()) == partitions
    except KafkaException:
        return False


def remove(kafka: Kafka, name: str) -> None:
    kafka.admin.delete_topics([name])[name].result(30)


def recreate(kafka: Kafka, name: str, partitions: int = 1) -> None:
    """Delete a topic and create it again; return once clients see the new one."""
    with open_topic(name, kafka.bootstrap_servers) as topic:
        previous_id = topic.topic_id()
        remove(kafka, name)
        create(kafka, name, partitions)

        def has_new_id() -> bool:
            try:
                return topic.topic_id() != previous_id
            except KafkaException:
                return False

        wait_until(has_new_id, timeout=30)


def delete_before(kafka: Kafka, topic: str, partition: int, offset: int) -> None:
    """Have Kafka delete the messages before an offset, as retention does."""
    limit = TopicPartition(topic, partition, offset)
    kafka.admin.delete_records([limit])[limit].result(30)


def send(
    kafka: Kafka,
    topic: str,
    records: Iterable[Record],
    *,
    partition: int = -1,
    written_ms: int = 0,
    headers: Mapping[str, bytes] | None = None,
) -> None:
    """Write records with the timestamp `written_ms`, or the current time if it is 0."""
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 5, "batch.size": 131_072}
    )
    errors: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            errors.append(error)

    for key, value in records:
        producer.produce(
            topic,
            key=key,
            value=value,
            partition=partition,
            timestamp=written_ms,
            headers=dict(headers or {}),
            on_delivery=delivered,
        )
        producer.poll(0)
    assert producer.flush(30) == 0
    assert errors == [], errors[0]
