"""The stream's job on the whole platform: what it writes, and that it outlives its servers."""

import json
import os
import signal
from collections.abc import Iterator

import obstore
import psycopg
import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    Message,
    Producer,
    TopicPartition,
)
from obstore.store import from_url

from diabetes_platform.clients.flink import FlinkCluster
from diabetes_platform.contract.events import (
    CDC_TOPIC,
    REJECTED_TOPIC,
    SINK_KEYS,
    SINK_TOPIC,
    STREAM_JOB,
)
from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.s3 import S3
from diabetes_platform.local.environments import REGION, database_url
from diabetes_platform.local.flink.job_state import stream_job_of
from diabetes_platform.local.flink.stream_job.checkpoints import BUCKET, retained
from diabetes_platform.local.flink.stream_job.decisions import current, to_restore
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.stack import Stack, storage_secret
from diabetes_platform.local.supervisor import Supervisor
from diabetes_platform.settings import Port
from diabetes_platform.streaming.balance import look_at_job
from diabetes_platform_tests.services import within

Place = tuple[str, int, int]
"""Topic, partition and offset."""

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

RECOVERED_SECONDS = 120.0
"""Half of it is the aim, on a machine that does nothing else."""


@pytest.fixture
def cluster(stack: Stack) -> FlinkCluster:
    return FlinkCluster(stack.url(Port.FLINK))


@pytest.fixture
def database(stack: Stack) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url(stack, "postgres", "diabetes"), autocommit=True) as opened:
        yield opened


@pytest.fixture
def producer(stack: Stack) -> Producer:
    # A batch may not be larger than the topic lets a message be.
    given = {"bootstrap.servers": servers(stack), "linger.ms": 0, "batch.size": 100_000}
    return Producer(given)


def servers(stack: Stack) -> str:
    return f"{HOST}:{stack.port(Port.KAFKA)}"


def storage(stack: Stack) -> S3:
    secret = stack.secrets[storage_secret("flink")]
    return S3(stack.url(Port.MINIO), "flink", secret, REGION)


def messages(stack: Stack, topic: str) -> list[Message]:
    """Everything that the topic holds now."""
    given = {"bootstrap.servers": servers(stack), "group.id": "test", "enable.auto.commit": False}
    consumer = Consumer(given)
    found: list[Message] = []
    try:
        known = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        for number in known:
            place = TopicPartition(topic, number, OFFSET_BEGINNING)
            end = consumer.get_watermark_offsets(place, timeout=10)[1]
            consumer.assign([place])
            while end and (not found or _before(found[-1], number, end)):
                message = consumer.poll(10)
                if message is None:
                    break
                assert message.error() is None, message.error()
                found.append(message)
    finally:
        consumer.close()
    return found


def _before(last: Message, partition: int, end: int) -> bool:
    return last.partition() != partition or (last.offset() or 0) + 1 < end


def written(stack: Stack, row_id: int) -> list[dict[str, object] | None]:
    """What the sink topic holds of one patient, in order."""
    mine = [m for m in messages(stack, SINK_TOPIC) if json.loads(m.key() or b"") == {"id": row_id}]
    return [None if m.value() is None else json.loads(m.value() or b"") for m in mine]


def insert(database: psycopg.Connection) -> int:
    example = {field.name: field.example for field in FEATURES}
    names, places = ", ".join(example), ", ".join(f"%({name})s" for name in example)
    statement = f"INSERT INTO public.diabetes_new ({names}) VALUES ({places}) RETURNING id"  # noqa: S608 - the contract's names
    row = database.execute(statement.encode(), example).fetchone()
    assert row is not None
    return int(row[0])


def job_id(cluster: FlinkCluster) -> str | None:
    job = current(cluster.jobs(), STREAM_JOB)
    return job.id if job is not None and cluster.all_tasks_run(job.id) else None


def submitted_again(cluster: FlinkCluster, before: str | None) -> bool:
    now = job_id(cluster)
    return now is not None and now != before


def replayed(stack: Stack, producer: Producer, row_id: int) -> None:
    """Let the source send again what it sent of this patient."""
    for message in messages(stack, CDC_TOPIC):
        if message.key() == json.dumps({"id": row_id}, separators=(",", ":")).encode():
            producer.produce(CDC_TOPIC, message.value(), message.key())
    producer.flush(10)


def test_changes_of_the_table_become_newest_images_and_tombstones(
    stack: Stack, database: psycopg.Connection
) -> None:
    row_id = insert(database)
    within(30, lambda: written(stack, row_id))
    database.execute(
        "UPDATE public.diabetes_new SET outcome = 1, outcome_recorded_at = now() WHERE id = %s",
        [row_id],
    )
    within(30, lambda: len(written(stack, row_id)) == 2)
    database.execute("DELETE FROM public.diabetes_new WHERE id = %s", [row_id])
    within(30, lambda: len(written(stack, row_id)) == 3)
    first, second, gone = written(stack, row_id)
    assert first is not None
    assert second is not None
    assert tuple(first) == SINK_KEYS
    assert (first["outcome"], second["outcome"], gone) == (None, 1, None)
    assert {name: first[name] for name in ("glucose", "op")} == {"glucose": 148, "op": "c"}


def poisoned(producer: Producer, poison: list[bytes], sent: dict[Place, bytes]) -> None:
    """Send what is no change, and note in `sent` where in the topic each one came to lie."""

    def noted(error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        sent[place_of(message)] = message.value() or b""

    for value in poison:
        producer.produce(CDC_TOPIC, value, None, on_delivery=noted)
    assert producer.flush(30) == 0


def place_of(message: Message) -> Place:
    return message.topic() or "", message.partition() or 0, message.offset() or 0


def headers_of(letter: Message) -> dict[str, str]:
    given = dict(letter.headers() or [])
    return {name: value.decode() for name, value in given.items() if isinstance(value, bytes)}


def place_told(headers: dict[str, str]) -> Place:
    return headers["topic"], int(headers["partition"]), int(headers["offset"])


@pytest.mark.slow
def test_ten_thousand_messages_that_are_no_changes_are_dead_letters_and_stop_nothing(
    stack: Stack, database: psycopg.Connection, producer: Producer
) -> None:
    before = len(messages(stack, REJECTED_TOPIC))
    sent: dict[Place, bytes] = {}
    good = []
    for _ in range(10):
        thousand = [b"{", b"\xff\xfe", b'{"op":"x"}', b"null"] * 249 + [b"[" * 60_000] * 4
        poisoned(producer, thousand, sent)
        good.append(insert(database))
    assert len(sent) == 10_000
    within(60, lambda: all(written(stack, row_id) for row_id in good))
    within(60, lambda: len(messages(stack, REJECTED_TOPIC)) >= before + len(sent))
    letters = messages(stack, REJECTED_TOPIC)[before:]
    told = [(headers_of(letter), letter.value() or b"") for letter in letters]
    assert {place_told(headers): value for headers, value in told} == sent
    assert all("key:missing" in json.loads(headers["reasons"]) for headers, _ in told)


def test_what_came_in_is_what_went_out_was_twice_was_wrong_or_says_nothing(
    stack: Stack, database: psycopg.Connection, producer: Producer
) -> None:
    row_id = insert(database)
    within(30, lambda: written(stack, row_id))
    before = stream_job_of(stack).counters
    assert before is not None
    replayed(stack, producer, row_id)

    def counted() -> bool:
        counters = stream_job_of(stack).counters
        return (
            counters is not None
            and counters.balanced
            and counters.duplicates == before.duplicates + 1
        )

    within(30, counted)
    assert len(written(stack, row_id)) == 1
    # What the hourly check sees of the same job, over REST alone.
    assert look_at_job(stack.url(Port.FLINK)).verdict == "balanced"


@pytest.mark.slow
def test_a_cancelled_job_is_submitted_again_with_its_state(
    stack: Stack, cluster: FlinkCluster, database: psycopg.Connection, producer: Producer
) -> None:
    row_id = insert(database)
    within(30, lambda: written(stack, row_id))
    before = job_id(cluster)
    assert before is not None
    completed = cluster.checkpoints(before).completed
    within(60, lambda: cluster.checkpoints(before).completed > completed + 1)
    cluster.cancel(before)
    within(RECOVERED_SECONDS, lambda: submitted_again(cluster, before))
    now = job_id(cluster)
    assert now is not None
    assert cluster.checkpoints(now).restored >= 1
    replayed(stack, producer, row_id)
    other = insert(database)
    within(30, lambda: written(stack, other))
    assert len(written(stack, row_id)) == 1


@pytest.mark.slow
def test_a_job_lost_with_its_jobmanager_is_submitted_again(
    stack: Stack, cluster: FlinkCluster, database: psycopg.Connection
) -> None:
    before = job_id(cluster)
    processes = Supervisor(stack.layout).processes() or ()
    (pid,) = (process.pid for process in processes if process.name == "flink-jobmanager")
    os.kill(pid, signal.SIGKILL)
    row_id = insert(database)
    within(RECOVERED_SECONDS, lambda: submitted_again(cluster, before))
    within(30, lambda: written(stack, row_id))


@pytest.mark.slow
def test_a_damaged_checkpoint_is_told_of_and_the_one_before_is_taken(
    stack: Stack, cluster: FlinkCluster
) -> None:
    before = job_id(cluster)
    within(60, lambda: sum(each.job_id == before for each in retained(storage(stack))) >= 2)
    assert before is not None
    cluster.cancel(before)
    newest = to_restore(retained(storage(stack)), ())
    assert newest is not None
    store = from_url(BUCKET, **storage(stack).for_obstore())
    path = f"{newest.url.removeprefix(BUCKET)}/_metadata".lstrip("/")
    obstore.put(store, path, b"no checkpoint")
    within(RECOVERED_SECONDS, lambda: submitted_again(cluster, before))
    log = stack.layout.log("stream-job").read_text(encoding="utf-8")
    assert f"WARNING: checkpoint {newest.url} cannot be used" in log
    now = job_id(cluster)
    assert now is not None
    assert cluster.checkpoints(now).restored >= 1
