"""What real services say of themselves, well, ill and gone."""

from collections.abc import Iterator

import httpx
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from diabetes_platform.contract.events import CONNECTOR, PREDICTOR_GROUP, SINK_TOPIC
from diabetes_platform.local.ports import free_port
from diabetes_platform.streaming.health import (
    MOST_BEHIND,
    connector_troubles,
    job_troubles,
    lag_troubles,
)
from diabetes_platform_tests.capture import Connect, Kafka, eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def group(kafka: Kafka) -> Iterator[Consumer]:
    servers = kafka.bootstrap_servers
    consumer = Consumer({"bootstrap.servers": servers, "group.id": PREDICTOR_GROUP})
    eventually(lambda: has_leaders(consumer))
    yield consumer
    consumer.close()


def has_leaders(consumer: Consumer) -> bool:
    """Whether every partition can be asked for its offsets: not yet just after a broker's start."""
    try:
        read_all(consumer)
    except KafkaException:
        return False
    return True


def read_all(consumer: Consumer) -> None:
    """Commit the end of every partition, as the predictor does that has answered everything."""
    partitions = consumer.list_topics(SINK_TOPIC, timeout=10).topics[SINK_TOPIC].partitions
    ends = []
    for number in partitions:
        place = TopicPartition(SINK_TOPIC, number)
        _, place.offset = consumer.get_watermark_offsets(place, timeout=10)
        ends.append(place)
    consumer.commit(offsets=ends, asynchronous=False)


def test_a_predictor_that_is_far_behind_is_told_with_both_numbers(
    kafka: Kafka, group: Consumer
) -> None:
    assert lag_troubles(kafka.bootstrap_servers) == []
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "batch.size": 100_000})
    for number in range(MOST_BEHIND + 1):
        producer.produce(SINK_TOPIC, key=b"%d" % number)
    assert producer.flush(30) == 0

    (trouble,) = lag_troubles(kafka.bootstrap_servers)

    assert trouble.subject == "group predictor"
    assert trouble.text == f"is 1,001 messages behind {SINK_TOPIC}, allowed 1,000"
    read_all(group)
    assert lag_troubles(kafka.bootstrap_servers) == []


def test_a_connector_that_is_not_there_is_told(connect: Connect) -> None:
    address = f"{connect.url}/connectors/{CONNECTOR}"
    # Connect answers 409 while it spreads its tasks, and forgets a connector a moment after 204.
    eventually(lambda: httpx.delete(address, trust_env=False).status_code in {204, 404})
    eventually(lambda: httpx.get(f"{address}/status", trust_env=False).status_code == 404)

    (trouble,) = connector_troubles(connect.url)

    assert trouble.text == "is not registered"


def test_services_that_do_not_answer_are_told() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    found = [
        *connector_troubles(f"http://{nowhere}"),
        *job_troubles(f"http://{nowhere}"),
        *lag_troubles(nowhere),
    ]
    assert [each.subject for each in found] == ["Kafka Connect", "Flink", "Kafka"]
    assert all(each.text.startswith("does not answer") for each in found)
