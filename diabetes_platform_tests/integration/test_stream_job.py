"""The stream job on the whole platform: its output, and its recovery after failures."""

import json
import os
import signal
from collections.abc import Callable, Iterator

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
from diabetes_platform.contract.change_events import SINK_KEYS
from diabetes_platform.contract.s3 import S3
from diabetes_platform.contract.topics import CDC_TOPIC, REJECTED_TOPIC, SINK_TOPIC, STREAM_JOB
from diabetes_platform.local.flink.job_state import running_job, stream_job_of
from diabetes_platform.local.flink.stream_job import BUCKET, retained, to_restore
from diabetes_platform.local.minio.connection import REGION
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.postgres.connection import database_url
from diabetes_platform.local.stack import Stack, storage_secret
from diabetes_platform.local.supervisor import Supervisor
from diabetes_platform.settings import Port
from diabetes_platform.streaming.message_accounting import account_for_messages
from diabetes_platform_tests.samples import EXAMPLE
from diabetes_platform_tests.services import within

Source = tuple[str, int, int]
"""Topic, partition and offset."""

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

RECOVERED_SECONDS = 120.0
"""The target is half of this time on an idle machine."""


@pytest.fixture
def cluster(stack: Stack) -> FlinkCluster:
    return FlinkCluster(stack.url(Port.FLINK))


@pytest.fixture
def database(stack: Stack) -> Iterator[psycopg.Connection]:
    with psycopg.connect(
        database_url(stack, "postgres", "diabetes"), autocommit=True
    ) as connection:
        yield connection


@pytest.fixture
def producer(stack: Stack) -> Producer:
    # A batch may not exceed the topic's maximum message size.
    config = {"bootstrap.servers": servers(stack), "linger.ms": 0, "batch.size": 100_000}
    return Producer(config)


def servers(stack: Stack) -> str:
    return f"{HOST}:{stack.port(Port.KAFKA)}"


def storage(stack: Stack) -> S3:
    secret = stack.secrets[storage_secret("flink")]
    return S3(stack.url(Port.MINIO), "flink", secret, REGION)


def messages(stack: Stack, topic: str) -> list[Message]:
    """Return all messages of a topic."""
    config = {"bootstrap.servers": servers(stack), "group.id": "test", "enable.auto.commit": False}
    consumer = Consumer(config)
    read: list[Message] = []
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        for number in partitions:
            start = TopicPartition(topic, number, OFFSET_BEGINNING)
            end = consumer.get_watermark_offsets(start, timeout=10)[1]
            consumer.assign([start])
            while end and (not read or _before_end(read[-1], number, end)):
                message = consumer.poll(10)
                if message is None:
                    break
                assert message.error() is None, message.error()
                read.append(message)
    finally:
        consumer.close()
    return read


def _before_end(last: Message, partition: int, end: int) -> bool:
    return last.partition() != partition or (last.offset() or 0) + 1 < end


def written(stack: Stack, row_id: int) -> list[dict[str, object] | None]:
    """Return the values of one patient in the sink topic, in order."""
    images = [
        m for m in messages(stack, SINK_TOPIC) if json.loads(m.key() or b"") == {"id": row_id}
    ]
    return [None if m.value() is None else json.loads(m.value() or b"") for m in images]


def insert(database: psycopg.Connection) -> int:
    names, placeholders = ", ".join(EXAMPLE), ", ".join(f"%({name})s" for name in EXAMPLE)
    statement = f"INSERT INTO public.diabetes_new ({names}) VALUES ({placeholders}) RETURNING id"  # noqa: S608 - the contract's names
    row = database.execute(statement.encode(), EXAMPLE).fetchone()
    assert row is not None
    return int(row[0])


def job_id(cluster: FlinkCluster) -> str | None:
    job = running_job(cluster.jobs(), STREAM_JOB)
    return job.id if job is not None and cluster.all_tasks_run(job.id) else None


def resubmitted(cluster: FlinkCluster, previous: str | None) -> bool:
    current_id = job_id(cluster)
    return current_id is not None and current_id != previous


def replay(stack: Stack, producer: Producer, row_id: int) -> None:
    """Send the source's messages of this patient again."""
    for message in messages(stack, CDC_TOPIC):
        if message.key() == json.dumps({"id": row_id}, separators=(",", ":")).encode():
            producer.produce(CDC_TOPIC, message.value(), message.key())
    producer.flush(10)


def test_table_changes_become_images_and_tombstones(
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
    first, second, tombstone = written(stack, row_id)
    assert first is not None
    assert second is not None
    assert tuple(first) == SINK_KEYS
    assert (first["outcome"], second["outcome"], tombstone) == (None, 1, None)
    assert {name: first[name] for name in ("glucose", "op")} == {"glucose": 148, "op": "c"}


def send_poison(producer: Producer, poison: list[bytes], sent: dict[Source, bytes]) -> None:
    """Send invalid messages, and record each one in `sent` by topic, partition and offset."""

    def delivered(error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        sent[source_of(message)] = message.value() or b""

    for value in poison:
        producer.produce(CDC_TOPIC, value, None, on_delivery=delivered)
    assert producer.flush(30) == 0


def source_of(message: Message) -> Source:
    return message.topic() or "", message.partition() or 0, message.offset() or 0


def headers_of(letter: Message) -> dict[str, str]:
    headers = dict(letter.headers() or [])
    return {name: value.decode() for name, value in headers.items() if isinstance(value, bytes)}


def source_in(headers: dict[str, str]) -> Source:
    return headers["topic"], int(headers["partition"]), int(headers["offset"])


@pytest.mark.slow
def test_ten_thousand_invalid_messages_become_dead_letters_while_valid_ones_pass(
    stack: Stack, database: psycopg.Connection, producer: Producer
) -> None:
    letter_count = len(messages(stack, REJECTED_TOPIC))
    sent: dict[Source, bytes] = {}
    good = []
    for _ in range(10):
        thousand = [b"{", b"\xff\xfe", b'{"op":"x"}', b"null"] * 249 + [b"[" * 60_000] * 4
        send_poison(producer, thousand, sent)
        good.append(insert(database))
    assert len(sent) == 10_000
    within(60, lambda: all(written(stack, row_id) for row_id in good))
    within(60, lambda: len(messages(stack, REJECTED_TOPIC)) >= letter_count + len(sent))
    letters = messages(stack, REJECTED_TOPIC)[letter_count:]
    received = [(headers_of(letter), letter.value() or b"") for letter in letters]
    assert {source_in(headers): value for headers, value in received} == sent
    assert all("key:missing" in json.loads(headers["reasons"]) for headers, _ in received)


def test_every_received_message_is_written_duplicate_rejected_or_ignored(
    stack: Stack, database: psycopg.Connection, producer: Producer
) -> None:
    row_id = insert(database)
    within(30, lambda: written(stack, row_id))
    initial = stream_job_of(stack).counters
    assert initial is not None
    replay(stack, producer, row_id)

    def counted() -> bool:
        counters = stream_job_of(stack).counters
        return (
            counters is not None
            and counters.balanced
            and counters.duplicates == initial.duplicates + 1
        )

    within(30, counted)
    assert len(written(stack, row_id)) == 1
    # The hourly check reads the same counters over REST.
    assert account_for_messages(stack.url(Port.FLINK)).verdict == "balanced"


@pytest.mark.slow
def test_a_cancelled_job_is_resubmitted_with_its_state(
    stack: Stack, cluster: FlinkCluster, database: psycopg.Connection, producer: Producer
) -> None:
    row_id = insert(database)
    within(30, lambda: written(stack, row_id))
    previous = job_id(cluster)
    assert previous is not None
    completed = cluster.checkpoints(previous).completed
    within(60, lambda: cluster.checkpoints(previous).completed > completed + 1)
    cluster.cancel(previous)
    within(RECOVERED_SECONDS, lambda: resubmitted(cluster, previous))
    restored = job_id(cluster)
    assert restored is not None
    assert cluster.checkpoints(restored).restored >= 1
    replay(stack, producer, row_id)
    other = insert(database)
    within(30, lambda: written(stack, other))
    assert len(written(stack, row_id)) == 1


@pytest.mark.slow
def test_a_job_is_resubmitted_with_its_state_after_its_jobmanager_was_killed(
    stack: Stack, cluster: FlinkCluster, database: psycopg.Connection
) -> None:
    previous = job_id(cluster)
    assert previous is not None
    within(60, lambda: cluster.checkpoints(previous).completed > 0)
    processes = Supervisor(stack.layout).processes() or ()
    (pid,) = (process.pid for process in processes if process.name == "flink-jobmanager")
    os.kill(pid, signal.SIGKILL)
    row_id = insert(database)
    within(RECOVERED_SECONDS, lambda: resubmitted(cluster, previous))
    restored = job_id(cluster)
    assert restored is not None
    assert cluster.checkpoints(restored).restored >= 1
    within(30, lambda: written(stack, row_id))


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda _: b"no checkpoint", id="other content"),
        pytest.param(lambda content: content[: len(content) // 2], id="cut in half"),
        pytest.param(lambda content: content[:9], id="only its head"),
        pytest.param(lambda _: b"", id="empty"),
    ],
)
def test_a_damaged_checkpoint_is_set_aside_and_the_previous_one_restored(
    stack: Stack, cluster: FlinkCluster, damage: Callable[[bytes], bytes]
) -> None:
    previous = job_id(cluster)
    within(
        60,
        lambda: sum(checkpoint.job_id == previous for checkpoint in retained(storage(stack))) >= 2,
    )
    assert previous is not None
    cluster.cancel(previous)
    newest = to_restore(retained(storage(stack)), ())
    assert newest is not None
    store = from_url(BUCKET, **storage(stack).for_obstore())
    path = f"{newest.url.removeprefix(BUCKET)}/_metadata".lstrip("/")
    obstore.put(store, path, damage(bytes(obstore.get(store, path).bytes())))
    within(RECOVERED_SECONDS, lambda: resubmitted(cluster, previous))
    log = stack.layout.log("stream-job").read_text(encoding="utf-8")
    assert f"WARNING: checkpoint {newest.url} cannot be restored" in log
    alerts = stack.layout.home / "logs" / "alerts.jsonl"
    within(60, lambda: f"checkpoint {newest.url} since" in alerts.read_text(encoding="utf-8"))
    restored = job_id(cluster)
    assert restored is not None
    assert cluster.checkpoints(restored).restored >= 1
