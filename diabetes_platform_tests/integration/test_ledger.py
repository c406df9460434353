"""Nothing lost, nothing twice: a ledger of changes while the stream's services are killed."""

import json
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from diabetes_platform.contract.events import CDC_TOPIC, DEAD_LETTER_HEADERS, REJECTED_TOPIC
from diabetes_platform.local.environments import database_url
from diabetes_platform.local.flink.job_state import stream_job_of
from diabetes_platform.local.platform import WAREHOUSE_DATABASE
from diabetes_platform.local.postgres.data import SUPERUSER
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervisor import ProcessState
from diabetes_platform.settings import Port
from diabetes_platform_tests.answering import released
from diabetes_platform_tests.ledger import CREATE, Balance, Writer, balance, newest
from diabetes_platform_tests.services import ill, state_of
from diabetes_platform_tests.storage import Storage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

logger = logging.getLogger(__name__)

KILLED = (
    "flink-taskmanager",
    "flink-jobmanager",
    "connect",
    "kafka",
    "postgres",
    "predictor",
    "api",
)
RECOVERED_SECONDS = 180.0
"""A machine that does nothing else takes 30, after the loss of the JobManager 60."""
STEADY_SECONDS = 5.0
SETTLED_SECONDS = 180.0
POISON = (b"{", b"\xff\xfe", b"[" * 1000, b'{"op": "x"}', b"null", b'"text"')


def not_working(stack: Stack, before: ProcessState) -> list[str]:
    """Return what does not work, `before` included while it has not been started again."""
    found = ill(stack)
    found += [before.name] if state_of(stack, before.name).pid == before.pid else []
    return found + ([] if stream_job_of(stack).running else ["job"])


def kill(stack: Stack, service: str) -> float:
    """Kill a service; return after how many seconds all worked again, and went on to."""
    before = state_of(stack, service)
    started = time.monotonic()
    os.kill(before.pid, signal.SIGKILL)
    since = None
    while since is None or time.monotonic() - since < STEADY_SECONDS:
        # The others notice the loss a moment later.
        if found := not_working(stack, before):
            assert time.monotonic() - started < RECOVERED_SECONDS, (service, found)
            since = None
        elif since is None:
            since = time.monotonic()
        time.sleep(0.2)
    return since - started


class Poisoner:
    """Sends what is no change event to the topic of changes, and keeps where each lies."""

    def __init__(self, servers: str) -> None:
        self.places: set[tuple[int, int]] = set()
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "message.timeout.ms": 120_000,
                "log_level": 0,
            },
            error_cb=lambda _: None,
        )

    def send(self, number: int) -> None:
        value = POISON[number % len(POISON)]
        self._producer.produce(CDC_TOPIC, value, key=b'{"id": 1}', on_delivery=self._kept)
        self._producer.poll(0)

    def finish(self) -> None:
        assert self._producer.flush(120) == 0

    def _kept(self, error: KafkaError | None, message: Message) -> None:
        assert error is None
        self.places.add((message.partition() or 0, message.offset() or 0))


def dead_letters(servers: str) -> set[tuple[int, int]]:
    """Return where in the topic of changes each dead letter came from."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "test", "log_level": 0})
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(REJECTED_TOPIC, 0), timeout=30)
        consumer.assign([TopicPartition(REJECTED_TOPIC, 0, 0)])
        found: set[tuple[int, int]] = set()
        while True:
            messages = consumer.consume(1000, timeout=1)
            for message in messages:
                headers = dict(message.headers() or [])
                assert json.loads(headers[DEAD_LETTER_HEADERS.reasons])
                if headers[DEAD_LETTER_HEADERS.topic] == CDC_TOPIC.encode():
                    partition = int(headers[DEAD_LETTER_HEADERS.partition])
                    found.add((partition, int(headers[DEAD_LETTER_HEADERS.offset])))
            if (
                not messages
                and consumer.position([TopicPartition(REJECTED_TOPIC, 0)])[0].offset >= end
            ):
                return found
    finally:
        consumer.close()


@pytest.fixture
def model(storage: Storage) -> Iterator[None]:
    with released(storage):
        yield


@pytest.mark.parametrize(
    ("changes", "rate", "times"),
    [
        pytest.param(1_000, 200.0, 0, id="1,000 changes, nothing killed"),
        pytest.param(
            20_000, 500.0, 2, id="20,000 changes, each service killed twice", marks=pytest.mark.soak
        ),
    ],
)
@pytest.mark.usefixtures("model")
def test_the_predictions_are_what_the_ledger_says(
    stack: Stack, changes: int, rate: float, times: int
) -> None:
    url = database_url(stack, SUPERUSER, WAREHOUSE_DATABASE)
    servers = f"127.0.0.1:{stack.port(Port.KAFKA)}"
    with psycopg.connect(url) as connection:
        connection.execute(CREATE)
    writer, poisoner = Writer(url, rate, random.Random(changes)), Poisoner(servers)
    killed, done = threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(writer.write, changes, killed)
        poisoning = pool.submit(poison_until, done, poisoner)
        try:
            for service in KILLED * times:
                seconds = kill(stack, service)
                logger.info("%s: healthy after %.1f s, at %s", service, seconds, writer.written)
            killed.set()
            writing.result()
        finally:
            killed.set()
            done.set()
        poisoning.result()
    logger.info("%s changes, %s outages of the database", writer.written, writer.outages)
    assert settled(url) == Balance(0, 0)
    assert_scored(stack, url)
    deadline = time.monotonic() + SETTLED_SECONDS
    while poisoner.places - (found := dead_letters(servers)):
        assert time.monotonic() < deadline, len(poisoner.places - found)
    assert poisoner.places


def poison_until(done: threading.Event, poisoner: Poisoner) -> None:
    number = 0
    while not done.wait(0.2):
        poisoner.send(number)
        number += 1
    poisoner.finish()


def settled(url: str) -> Balance:
    """Return the balance once it is even, or as it is when that took too long."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while not (found := balance(url)).even and time.monotonic() < deadline:
        time.sleep(1)
    return found


def assert_scored(stack: Stack, url: str) -> None:
    """Each newest prediction is what the API says of the patient's present measurements."""
    patients = list(newest(url).values())
    for first in range(0, len(patients), 1000):
        part = patients[first : first + 1000]
        answer = httpx.post(
            f"{stack.url(Port.API)}/predict/batch", json=[row for row, _ in part], timeout=60
        ).raise_for_status()
        answers = answer.json()["results"]
        said = [one["probability"] for one in answers]
        assert said == pytest.approx([probability for _, probability in part])
