"""The broker as the supervisor starts it: what it starts on, what it refuses, what it survives."""

import subprocess
from itertools import islice
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import NewTopic

from diabetes_platform.local.jvm import COULD_NOT_RUN
from diabetes_platform.local.kafka.data import cluster_id_in, id_file_of
from diabetes_platform_tests.capture import Kafka, running

pytestmark = pytest.mark.integration
TOPIC = "kept"


@pytest.fixture
def own(tmp_path: Path) -> Kafka:
    """A broker that no other test has, not started."""
    return Kafka(tmp_path / "kafka")


def cluster_of(kafka: Kafka) -> str | None:
    return cluster_id_in((kafka.data_dir / "meta.properties").read_text())


def errors_of_sending(
    kafka: Kafka, topic: str, *values: bytes, seconds: int = 20
) -> list[KafkaError]:
    """Send messages and return what could not be delivered."""
    errors: list[KafkaError | None] = []
    limits = {"message.timeout.ms": seconds * 1000}
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, **limits})
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(30) == 0
    return [error for error in errors if error is not None]


@pytest.mark.slow
def test_a_broker_that_was_killed_comes_back_with_its_cluster_and_its_messages(own: Kafka) -> None:
    with running(own):
        own.admin.create_topics([NewTopic(TOPIC, 1)])[TOPIC].result(30)
        assert errors_of_sending(own, TOPIC, b"1", b"2") == []
        cluster = cluster_of(own)
        own.kill()
        own.start()
        assert cluster_of(own) == cluster
        assert id_file_of(own.data_dir).read_text() == f"{cluster}\n"
        assert errors_of_sending(own, TOPIC, b"3") == []
        (start,) = own.ends(TOPIC)
        start.offset = 0
        assert [m.value() for m in islice(own.messages([start]), 3)] == [b"1", b"2", b"3"]
        (end,) = own.ends(TOPIC)
        assert end.offset == 3


def test_data_of_another_cluster_are_refused_in_one_line_and_not_touched(own: Kafka) -> None:
    with running(own):
        cluster = cluster_of(own)
    id_file_of(own.data_dir).write_text("zzzzzzzzQ8WetfU8SumRIw\n")
    before = {path: path.stat().st_mtime_ns for path in own.data_dir.rglob("*")}
    done = subprocess.run(
        own.command, env=own.environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (COULD_NOT_RUN, "")
    (line,) = done.stderr.splitlines()
    assert f"holds data of Kafka cluster {cluster}, this platform's cluster is zzzz" in line
    assert {path: path.stat().st_mtime_ns for path in own.data_dir.rglob("*")} == before


def test_a_topic_that_is_not_there_is_not_made_by_who_sends_to_it(kafka: Kafka) -> None:
    assert len(errors_of_sending(kafka, "diabetes_cdc.public.diabetes_old", b"?", seconds=2)) == 1
    assert "diabetes_cdc.public.diabetes_old" not in kafka.admin.list_topics(timeout=10).topics


def test_it_listens_on_this_machine_only(kafka: Kafka) -> None:
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
    # 127.0.0.1, the second as an address of IPv6.
    assert set(listening) <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert len(listening) == 2
