"""Health checks of Kafka: produce and consume a message, and compare the topics' settings."""

import uuid

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from diabetes_platform.local.health import HealthCheck, restart_remedy
from diabetes_platform.local.stack import Stack
from diabetes_platform.provisioning.topics import pending_changes
from diabetes_platform.settings import Port

TOPIC = "platform.doctor"
"""Reserved for this check; its messages are kept for minutes."""
TIMEOUT_SECONDS = 10.0


def produce_and_consume(stack: Stack) -> str:
    """Produce a message and consume it; raises if it does not arrive."""
    servers = {"bootstrap.servers": stack.address(Port.KAFKA)}
    content = uuid.uuid4().bytes
    partition = _produce(servers, content)
    consumer = Consumer({**servers, "group.id": "doctor", "enable.auto.commit": False})
    try:
        consumer.assign([partition])
        message = consumer.poll(TIMEOUT_SECONDS)
    finally:
        consumer.close()
    if message is None:
        raise RuntimeError(f"a message in {TOPIC} could not be read after {TIMEOUT_SECONDS:.0f} s")
    if message.error() is not None:
        raise KafkaException(message.error())
    if message.value() != content:
        raise RuntimeError(f"{TOPIC} returned a different message")
    return f"produced to {TOPIC} and consumed at offset {partition.offset}"


def topics_are_as_set(stack: Stack) -> str:
    """Compare the broker's topics with the file; raises if topics are missing or differ."""
    pending = pending_changes(stack.address(Port.KAFKA))
    if pending:
        raise RuntimeError(f"missing or changed manually: {', '.join(pending.topics)}")
    return "every topic has the settings of infra/kafka/topics.yaml"


def _produce(servers: dict[str, str], content: bytes) -> TopicPartition:
    delivered: list[TopicPartition] = []
    errors: list[KafkaException] = []

    def on_delivery(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            errors.append(KafkaException(error))
        else:
            delivered.append(TopicPartition(TOPIC, message.partition() or 0, message.offset() or 0))

    options = {"message.timeout.ms": int(TIMEOUT_SECONDS * 1000), "linger.ms": 0}
    producer = Producer({**servers, **options})
    producer.produce(TOPIC, content, on_delivery=on_delivery)
    producer.flush(TIMEOUT_SECONDS)
    if errors:
        raise errors[0]
    if not delivered:
        raise RuntimeError(f"the broker did not accept a message within {TIMEOUT_SECONDS:.0f} s")
    return delivered[0]


CHECKS = (
    HealthCheck(
        "kafka",
        "produces and consumes",
        produce_and_consume,
        restart_remedy("kafka"),
        Port.KAFKA,
        of_stream=True,
    ),
    HealthCheck(
        "topics",
        "have their settings",
        topics_are_as_set,
        "`diabetes up` creates them again and restores their settings",
        Port.KAFKA,
        of_stream=True,
    ),
)
