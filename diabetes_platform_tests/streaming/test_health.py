"""Health issues of real services: healthy, unhealthy and not running."""

from collections.abc import Iterator

import httpx
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from diabetes_platform.contract.topics import CONNECTOR, PREDICTOR_GROUP, SINK_TOPIC
from diabetes_platform.local.ports import free_port
from diabetes_platform.polling import wait_until
from diabetes_platform.streaming.health import (
    MAX_LAG,
    assignment_issues,
    connector_issues,
    job_issues,
    lag_issues,
)
from diabetes_platform_tests.capture import Connect, Kafka

pytestmark = pytest.mark.integration


@pytest.fixture
def group(kafka: Kafka) -> Iterator[Consumer]:
    servers = kafka.bootstrap_servers
    consumer = Consumer({"bootstrap.servers": servers, "group.id": PREDICTOR_GROUP})
    wait_until(lambda: has_leaders(consumer), timeout=30)
    yield consumer
    consumer.close()


def has_leaders(consumer: Consumer) -> bool:
    """Whether every partition has a leader; right after a broker's start some have none."""
    try:
        commit_all(consumer)
    except KafkaException:
        return False
    return True


def commit_all(consumer: Consumer) -> None:
    """Commit the end of every partition, as a predictor without lag does."""
    partitions = consumer.list_topics(SINK_TOPIC, timeout=10).topics[SINK_TOPIC].partitions
    ends = []
    for number in partitions:
        partition = TopicPartition(SINK_TOPIC, number)
        _, partition.offset = consumer.get_watermark_offsets(partition, timeout=10)
        ends.append(partition)
    consumer.commit(offsets=ends, asynchronous=False)


def test_reports_a_lagging_predictor_with_lag_and_limit(kafka: Kafka, group: Consumer) -> None:
    assert lag_issues(kafka.bootstrap_servers) == []
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "batch.size": 100_000})
    for number in range(MAX_LAG + 1):
        producer.produce(SINK_TOPIC, key=b"%d" % number)
    assert producer.flush(30) == 0

    (issue,) = lag_issues(kafka.bootstrap_servers)

    assert issue.subject == "group predictor"
    assert issue.problem == f"is 1,001 messages behind {SINK_TOPIC}, allowed 1,000"
    commit_all(group)
    assert lag_issues(kafka.bootstrap_servers) == []


def test_reports_partitions_without_a_predictor(kafka: Kafka, group: Consumer) -> None:
    (issue,) = assignment_issues(kafka.bootstrap_servers)
    assert issue.subject == "members of group predictor"
    assert issue.problem.startswith("partitions without a predictor: 0, 1, 2, 3;")

    group.subscribe([SINK_TOPIC])

    def is_assigned() -> bool:
        group.poll(0.1)
        return assignment_issues(kafka.bootstrap_servers) == []

    wait_until(is_assigned, timeout=60)


def test_reports_a_connector_that_is_not_registered(connect: Connect) -> None:
    address = f"{connect.url}/connectors/{CONNECTOR}"
    # Connect answers 409 while it spreads its tasks, and forgets a connector a moment after 204.
    wait_until(lambda: httpx.delete(address, trust_env=False).status_code in {204, 404}, timeout=30)
    wait_until(
        lambda: httpx.get(f"{address}/status", trust_env=False).status_code == 404, timeout=30
    )

    (issue,) = connector_issues(connect.url)

    assert issue.problem == "is not registered"


def test_reports_services_that_do_not_answer() -> None:
    unused = f"127.0.0.1:{free_port()}"
    issues = [
        *connector_issues(f"http://{unused}"),
        *job_issues(f"http://{unused}"),
        *lag_issues(unused),
        *assignment_issues(unused),
    ]
    assert [issue.subject for issue in issues] == ["Kafka Connect", "Flink", "Kafka"]
    assert all(issue.problem.startswith("does not answer") for issue in issues)
