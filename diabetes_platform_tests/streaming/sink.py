"""Messages of the sink topic as Flink writes them, and topics of a test's own."""

import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import NewTopic

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.streaming.topic import opened
from diabetes_platform_tests.capture import Kafka, eventually

EXAMPLE = {one.name: one.example for one in FEATURES}
COMPACTED = {"cleanup.policy": "compact"}

Record = tuple[bytes | None, bytes | None]


def key_of(intake_id: int) -> bytes:
    return json.dumps({"id": intake_id}).encode()


def image(intake_id: int, lsn: int, /, **changed: object) -> dict[str, object]:
    now = time.time_ns() // 1_000_000
    return {
        "id": intake_id,
        "received_at": "2026-11-24T12:00:00.123456Z",
        **EXAMPLE,
        "outcome": None,
        "outcome_recorded_at": None,
        "op": "c",
        "lsn": lsn,
        "changed_ms": now - 30,
        "captured_ms": now - 20,
        "judged_ms": now - 10,
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
    make(kafka, name, partitions, config)
    yield name
    remove(kafka, name)


def make(
    kafka: Kafka, name: str, partitions: int = 1, config: Mapping[str, str] | None = None
) -> None:
    topic = NewTopic(name, partitions, replication_factor=1, config=dict(config or {}))
    kafka.admin.create_topics([topic])[name].result(30)
    eventually(lambda: has_leaders(kafka, name, partitions))


def has_leaders(kafka: Kafka, name: str, partitions: int) -> bool:
    """Whether every partition can be asked: a broker leads one a moment after it has made it."""
    try:
        with opened(name, kafka.bootstrap_servers) as topic:
            return len(topic.ends()) == partitions
    except KafkaException:
        return False


def remove(kafka: Kafka, name: str) -> None:
    kafka.admin.delete_topics([name])[name].result(30)


def remake(kafka: Kafka, name: str, partitions: int = 1) -> None:
    """Delete a topic and make it anew, as seen by clients."""
    with opened(name, kafka.bootstrap_servers) as topic:
        before = topic.topic_id()
        remove(kafka, name)
        make(kafka, name, partitions)

        def known() -> bool:
            try:
                return topic.topic_id() != before
            except KafkaException:
                return False

        eventually(known)


def send(
    kafka: Kafka,
    topic: str,
    records: Iterable[Record],
    *,
    partition: int = -1,
    written_ms: int = 0,
    headers: Mapping[str, bytes] | None = None,
) -> None:
    """Write records; `written_ms` is the time that they bear, now where it is 0."""
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 5, "batch.size": 131_072}
    )
    refused: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            refused.append(error)

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
    assert refused == [], refused[0]
