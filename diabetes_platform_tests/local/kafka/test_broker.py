"""The broker process: recovery after a kill, rejection of other data, and network access."""

import subprocess
from itertools import islice
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import NewTopic

from diabetes_platform.errors import COULD_NOT_RUN
from diabetes_platform.local.kafka.data import cluster_id_file, parse_cluster_id
from diabetes_platform_tests.capture import Kafka, running

pytestmark = pytest.mark.integration
TOPIC = "durable"


@pytest.fixture
def private_kafka(tmp_path: Path) -> Kafka:
    """A stopped broker for one test."""
    return Kafka(tmp_path / "kafka")


def cluster_of(kafka: Kafka) -> str | None:
    return parse_cluster_id((kafka.data_dir / "meta.properties").read_text())


def delivery_errors(
    kafka: Kafka, topic: str, *values: bytes, seconds: int = 20
) -> list[KafkaError]:
    """Produce messages and return the delivery errors."""
    errors: list[KafkaError | None] = []
    limits = {"message.timeout.ms": seconds * 1000}
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, **limits})
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(30) == 0
    return [error for error in errors if error is not None]


@pytest.mark.slow
def test_keeps_its_cluster_id_and_messages_after_a_kill(private_kafka: Kafka) -> None:
    with running(private_kafka):
        private_kafka.admin.create_topics([NewTopic(TOPIC, 1)])[TOPIC].result(30)
        assert delivery_errors(private_kafka, TOPIC, b"1", b"2") == []
        cluster = cluster_of(private_kafka)
        private_kafka.kill()
        private_kafka.start()
        assert cluster_of(private_kafka) == cluster
        assert cluster_id_file(private_kafka.data_dir).read_text() == f"{cluster}\n"
        assert delivery_errors(private_kafka, TOPIC, b"3") == []
        (start,) = private_kafka.ends(TOPIC)
        start.offset = 0
        assert [m.value() for m in islice(private_kafka.messages([start]), 3)] == [b"1", b"2", b"3"]
        (end,) = private_kafka.ends(TOPIC)
        assert end.offset == 3


def test_rejects_the_data_of_another_cluster_without_changing_them(private_kafka: Kafka) -> None:
    with running(private_kafka):
        cluster = cluster_of(private_kafka)
    cluster_id_file(private_kafka.data_dir).write_text("zzzzzzzzQ8WetfU8SumRIw\n")
    files = {path: path.stat().st_mtime_ns for path in private_kafka.data_dir.rglob("*")}
    logged = private_kafka.log.read_text().splitlines()
    result = subprocess.run(
        private_kafka.command, env=private_kafka.environment, timeout=30, check=False
    )
    assert result.returncode == COULD_NOT_RUN
    (line,) = private_kafka.log.read_text().splitlines()[len(logged) :]
    assert f"holds data of Kafka cluster {cluster}, this platform's cluster is zzzz" in line
    assert {path: path.stat().st_mtime_ns for path in private_kafka.data_dir.rglob("*")} == files


def test_producing_does_not_create_a_missing_topic(kafka: Kafka) -> None:
    assert len(delivery_errors(kafka, "diabetes_cdc.public.diabetes_old", b"?", seconds=2)) == 1
    assert "diabetes_cdc.public.diabetes_old" not in kafka.admin.list_topics(timeout=10).topics


def test_listens_on_the_loopback_interface_only(kafka: Kafka) -> None:
    inodes = {
        fd.readlink().name
        for fd in Path(f"/proc/{kafka.pid}/fd").iterdir()
        if fd.readlink().name.startswith("socket:")
    }
    listening = [
        columns[1].partition(":")[0]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for columns in map(str.split, Path(table).read_text().splitlines()[1:])
        if columns[3] == "0A" and f"socket:[{columns[9]}]" in inodes
    ]
    # 127.0.0.1, the second time as an IPv6-mapped address.
    assert set(listening) <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert len(listening) == 2
