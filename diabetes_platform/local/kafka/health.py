"""The health checks of Kafka: a message sent and read, the topics as configured."""

import uuid

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from diabetes_platform.local.health import HealthCheck, restart_remedy
from diabetes_platform.local.kafka.setup import pending_changes
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port

TOPIC = "platform.doctor"
"""Only for this: its messages are kept for minutes."""
SECONDS = 10.0


def produce_and_consume(stack: Stack) -> str:
    """Send a message and read that same one; raises where it does not arrive."""
    servers = {"bootstrap.servers": f"{HOST}:{stack.port(Port.KAFKA)}"}
    sent = uuid.uuid4().bytes
    place = _produce(servers, sent)
    consumer = Consumer({**servers, "group.id": "doctor", "enable.auto.commit": False})
    try:
        consumer.assign([place])
        message = consumer.poll(SECONDS)
    finally:
        consumer.close()
    if message is None:
        raise RuntimeError(f"a message sent to {TOPIC} cannot be read after {SECONDS:.0f} s")
    if message.error() is not None:
        raise KafkaException(message.error())
    if message.value() != sent:
        raise RuntimeError(f"{TOPIC} gives another message than was sent")
    return f"sent to {TOPIC} and read at offset {place.offset}"


def topics_are_as_set(stack: Stack) -> str:
    """Compare the broker's topics with the file; raises with those that are missing or differ."""
    pending = pending_changes(f"{HOST}:{stack.port(Port.KAFKA)}")
    if pending:
        names = sorted({*pending.create, *pending.grow, *pending.alter})
        raise RuntimeError(f"missing, or changed by hand: {', '.join(names)}")
    return "every topic has the settings of infra/kafka/topics.yaml"


def _produce(servers: dict[str, str], content: bytes) -> TopicPartition:
    placed: list[TopicPartition] = []
    failed: list[KafkaException] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(KafkaException(error))
        else:
            placed.append(TopicPartition(TOPIC, message.partition() or 0, message.offset() or 0))

    options = {"message.timeout.ms": int(SECONDS * 1000), "linger.ms": 0}
    producer = Producer({**servers, **options})
    producer.produce(TOPIC, content, on_delivery=delivered)
    producer.flush(SECONDS)
    if failed:
        raise failed[0]
    if not placed:
        raise RuntimeError(f"the broker does not take a message within {SECONDS:.0f} s")
    return placed[0]


CHECKS = (
    HealthCheck(
        "kafka", "produces and consumes", produce_and_consume, restart_remedy("kafka"), Port.KAFKA
    ),
    HealthCheck(
        "topics",
        "have their settings",
        topics_are_as_set,
        "`diabetes down` and `diabetes up` create them again and restore their settings",
        Port.KAFKA,
    ),
)
