"""Partitions are added to the topics of a running platform."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import yaml
from confluent_kafka import Consumer, KafkaException, TopicPartition

from diabetes_platform.contract.topics import CDC_TOPIC, SINK_TOPIC
from diabetes_platform.local.api.client import assigned_partitions
from diabetes_platform.local.postgres.connection import database_url
from diabetes_platform.local.stack import Stack
from diabetes_platform.polling import wait_until
from diabetes_platform.provisioning.databases import SUPERUSER, WAREHOUSE_DATABASE
from diabetes_platform.provisioning.topics import TOPICS_FILE, setup_topics
from diabetes_platform.settings import Port
from diabetes_platform_tests.conftest import own_stack
from diabetes_platform_tests.ledger import CREATE, Balance, Writer, assert_scored, final_balance
from diabetes_platform_tests.released_model import released
from diabetes_platform_tests.services import unhealthy_services
from diabetes_platform_tests.storage import storage_of

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1200)]

PARTITIONS = 12
CHANGES = 2_000


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A platform of its own, because Kafka cannot remove partitions."""
    with own_stack(tmp_path_factory.mktemp("platform")) as stack, released(storage_of(stack)):
        yield stack


def topics_file(directory: Path) -> Path:
    """Write the declared topics with more partitions for changes and images."""
    topics = yaml.safe_load(TOPICS_FILE.read_text(encoding="utf-8"))
    for name in (CDC_TOPIC, SINK_TOPIC):
        topics[name]["partitions"] = PARTITIONS
    file = directory / "topics.yaml"
    file.write_text(yaml.safe_dump(topics), encoding="utf-8")
    return file


def used_partitions(servers: str, topic: str) -> list[int]:
    """Return the partitions of a topic that have messages."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "test", "log_level": 0})
    try:
        ends = {
            partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
            for partition in range(PARTITIONS)
        }
    finally:
        consumer.close()
    return [partition for partition, (_, end) in ends.items() if end > 0]


def test_no_change_is_lost_repeated_or_reordered(platform: Stack, tmp_path: Path) -> None:
    url = database_url(platform, SUPERUSER, WAREHOUSE_DATABASE)
    servers = f"127.0.0.1:{platform.port(Port.KAFKA)}"
    with psycopg.connect(url) as connection:
        connection.execute(CREATE)
    writer, done = Writer(url, 50.0, random.Random(12)), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(writer.write, CHANGES, done)
        try:
            wait_until(lambda: writer.written > CHANGES / 4, timeout=60)
            changes = setup_topics(servers, topics_file(tmp_path))
            assert changes.add_partitions == {CDC_TOPIC: PARTITIONS, SINK_TOPIC: PARTITIONS}
            # Until Debezium and Flink write to the new partitions as well.
            wait_until(
                lambda: len(used_partitions(servers, SINK_TOPIC)) == PARTITIONS,
                timeout=180,
                interval=2,
                retry_on=(KafkaException,),  # a new partition has no leader at first
            )
        finally:
            done.set()
        writing.result()
    assert final_balance(url, timeout=120) == Balance(0, 0)
    assert_scored(url, platform.url(Port.API))
    assert used_partitions(servers, CDC_TOPIC) == list(range(PARTITIONS))
    assert assigned_partitions(platform.url(Port.PREDICTOR)) == PARTITIONS
    assert unhealthy_services(platform) == []
