"""A savepoint of the stream's job, restored into a graph that has one table more."""

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
from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.local.flink.client import Client, cancel
from diabetes_platform.local.flink.distribution import FlinkHome
from diabetes_platform.local.flink.stream_job.watcher import JOB
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port, inherited_environment
from diabetes_platform_tests.services import within

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

KINDS = ("changes", "images", "rejected", "windowed")
CHANGED_MS = 1_760_000_000_000
SECONDS = 90.0


@dataclass(frozen=True)
class OwnJob:
    """The job between topics of the test's own."""

    cluster: FlinkCluster
    client: Client
    servers: str
    name: str

    def submit(self, *arguments: str, **options: str) -> str:
        """Return its id once every task runs."""
        given = ["--bootstrap-servers", self.servers]
        for kind in KINDS:
            given += [f"--{kind}", f"{self.name}.{kind}"]
        self.client.run(JOB, self.cluster, self.name, arguments=[*given, *arguments], **options)
        (job,) = (job for job in self.cluster.jobs() if job.name == self.name and not job.ended)
        within(SECONDS, lambda: self.cluster.all_tasks_run(job.id))
        return job.id

    def change(self, lsn: int) -> None:
        """Send a change of patient 1."""
        image = {"id": 1, **{field.name: field.example for field in FEATURES}}
        producer = Producer({"bootstrap.servers": self.servers})
        value = json.dumps(envelope("u", image, lsn, CHANGED_MS))
        producer.produce(f"{self.name}.changes", value, b'{"id":1}')
        assert producer.flush(10) == 0

    def written(self) -> list[int]:
        """The lsn of each image that was written, in order."""
        given = {"bootstrap.servers": self.servers, "group.id": "test"}
        consumer = Consumer({**given, "enable.auto.commit": False})
        found = []
        try:
            consumer.assign([TopicPartition(f"{self.name}.images", 0, OFFSET_BEGINNING)])
            while (message := consumer.poll(3)) is not None:
                assert message.error() is None, message.error()
                found.append(json.loads(message.value() or b"")["lsn"])
        finally:
            consumer.close()
        return found

    def stop_with_savepoint(self, job_id: str) -> str:
        """Return where the savepoint lies."""
        jobs = f"{self.cluster.url}/jobs/{job_id}/savepoints"
        asked = {"target-directory": f"s3://checkpoints/{self.name}", "cancel-job": True}
        asking = httpx.post(jobs, json=asked, trust_env=False, timeout=30).raise_for_status()
        trigger = asking.json()["request-id"]
        told: dict[str, dict[str, str]] = {}

        def done() -> bool:
            answer = httpx.get(f"{jobs}/{trigger}", trust_env=False, timeout=30)
            told.update(answer.raise_for_status().json())
            return told["status"]["id"] == "COMPLETED"

        within(SECONDS, done)
        assert "location" in told["operation"], told
        return told["operation"]["location"]


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
        for answer in admin.create_topics(topics).values():
            answer.result()
        yield job
        cancel(job.cluster, job.name)
        for answer in admin.delete_topics([topic.topic for topic in topics]).values():
            answer.result()


@pytest.mark.slow
def test_a_savepoint_keeps_what_was_newest_though_a_table_is_added(own_job: OwnJob) -> None:
    before = own_job.submit("--without", "windowed")
    own_job.change(20)
    within(SECONDS, lambda: own_job.written() == [20])
    tables = len(own_job.cluster.vertices(before))
    savepoint = own_job.stop_with_savepoint(before)
    now = own_job.submit(**{"execution.state-recovery.path": savepoint})
    assert len(own_job.cluster.vertices(now)) == tables + 1
    own_job.change(10)
    own_job.change(30)
    written: list[int] = []

    def came() -> bool:
        written[:] = own_job.written()
        return 30 in written

    within(SECONDS, came)
    assert written == [20, 30]
