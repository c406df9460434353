"""A savepoint of the stream job, restored into a graph with one more table."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.flink.events import envelope
from diabetes_platform.clients.flink import FlinkCluster
from diabetes_platform.local.flink.client import Client, cancel
from diabetes_platform.local.flink.distribution import FlinkHome
from diabetes_platform.local.flink.stream_job import JOB
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port, inherited_environment
from diabetes_platform_tests.samples import EXAMPLE
from diabetes_platform_tests.services import within

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

KINDS = ("changes", "images", "rejected", "windowed")
CHANGED_MS = 1_760_000_000_000
SECONDS = 90.0


@dataclass(frozen=True)
class OwnJob:
    """The stream job between separate topics."""

    cluster: FlinkCluster
    client: Client
    servers: str
    name: str

    def submit(self, *arguments: str, **options: str) -> str:
        """Submit the job; return its id once every task runs."""
        topics = ["--bootstrap-servers", self.servers]
        for kind in KINDS:
            topics += [f"--{kind}", f"{self.name}.{kind}"]
        self.client.run(JOB, self.cluster, self.name, arguments=[*topics, *arguments], **options)
        (job,) = (job for job in self.cluster.jobs() if job.name == self.name and not job.ended)
        within(SECONDS, lambda: self.cluster.all_tasks_run(job.id))
        return job.id

    def change(self, lsn: int) -> None:
        """Send a change of patient 1."""
        image = {"id": 1, **EXAMPLE}
        producer = Producer({"bootstrap.servers": self.servers})
        value = json.dumps(envelope("u", image, lsn, CHANGED_MS))
        producer.produce(f"{self.name}.changes", value, b'{"id":1}')
        assert producer.flush(10) == 0

    def written(self) -> list[int]:
        """Return the lsn of each image in the sink topic, in order."""
        config = {"bootstrap.servers": self.servers, "group.id": "test"}
        consumer = Consumer({**config, "enable.auto.commit": False})
        lsns = []
        try:
            consumer.assign([TopicPartition(f"{self.name}.images", 0, OFFSET_BEGINNING)])
            while (message := consumer.poll(3)) is not None:
                assert message.error() is None, message.error()
                lsns.append(json.loads(message.value() or b"")["lsn"])
        finally:
            consumer.close()
        return lsns

    def stop_with_savepoint(self, job_id: str) -> str:
        """Stop the job; return the URL of its savepoint."""
        jobs = f"{self.cluster.url}/jobs/{job_id}/savepoints"
        body = {"target-directory": f"s3://checkpoints/{self.name}", "cancel-job": True}
        response = httpx.post(jobs, json=body, trust_env=False, timeout=30).raise_for_status()
        trigger = response.json()["request-id"]
        status: dict[str, dict[str, str]] = {}

        def completed() -> bool:
            current = httpx.get(f"{jobs}/{trigger}", trust_env=False, timeout=30)
            status.update(current.raise_for_status().json())
            return status["status"]["id"] == "COMPLETED"

        within(SECONDS, completed)
        assert "location" in status["operation"], status
        return status["operation"]["location"]


@pytest.fixture
def own_job(stack: Stack) -> Iterator[OwnJob]:
    environment = inherited_environment()
    home = FlinkHome(Tools(stack.layout.tools))
    client = Client(home, find_java(environment), environment)
    servers = f"{HOST}:{stack.port(Port.KAFKA)}"
    cluster = FlinkCluster(stack.url(Port.FLINK))
    job = OwnJob(cluster, client, servers, f"savepoint-{secrets.token_hex(4)}")
    topics = [NewTopic(f"{job.name}.{kind}", 1) for kind in KINDS]
    with AdminClient({"bootstrap.servers": servers}) as admin:
        for future in admin.create_topics(topics).values():
            future.result()
        yield job
        cancel(job.cluster, job.name)
        for future in admin.delete_topics([topic.topic for topic in topics]).values():
            future.result()


@pytest.mark.slow
def test_a_savepoint_keeps_the_newest_images_when_a_table_is_added(own_job: OwnJob) -> None:
    first_job = own_job.submit("--without", "windowed")
    own_job.change(20)
    within(SECONDS, lambda: own_job.written() == [20])
    tables = len(own_job.cluster.vertices(first_job))
    savepoint = own_job.stop_with_savepoint(first_job)
    restored_job = own_job.submit(**{"execution.state-recovery.path": savepoint})
    assert len(own_job.cluster.vertices(restored_job)) == tables + 1
    own_job.change(10)
    own_job.change(30)
    written: list[int] = []

    def newest_arrived() -> bool:
        written[:] = own_job.written()
        return 30 in written

    within(SECONDS, newest_arrived)
    assert written == [20, 30]
