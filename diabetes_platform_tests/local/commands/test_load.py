"""`diabetes load` names the service that does not take its events, in one line."""

import pytest
from confluent_kafka import Consumer, KafkaException, Producer

from diabetes_platform.local.commands.load import cause, kafka_options
from diabetes_platform.local.ports import free_port


def test_an_unreachable_broker_is_one_line_without_the_clients_log(
    capfd: pytest.CaptureFixture[str],
) -> None:
    options = kafka_options(f"127.0.0.1:{free_port()}")
    consumer = Consumer({**options, "group.id": "load"})
    try:
        with pytest.raises(KafkaException) as raised:
            consumer.list_topics("any", timeout=1)
    finally:
        consumer.close()
    line = cause(raised.value)
    assert line.startswith("Kafka: ")
    assert "see `diabetes logs kafka`" in line
    assert "KafkaError" not in line
    assert "\n" not in line
    assert capfd.readouterr().err == ""


def test_a_full_queue_is_named() -> None:
    options = kafka_options(f"127.0.0.1:{free_port()}")
    producer = Producer({**options, "queue.buffering.max.messages": 1, "message.timeout.ms": 1000})
    producer.produce("any", b"")
    with pytest.raises(BufferError) as raised:
        producer.produce("any", b"")
    assert cause(raised.value).startswith("Kafka has accepted no event")
    producer.purge()
    producer.flush(5)
