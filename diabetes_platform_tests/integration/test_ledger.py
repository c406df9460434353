"""Predictions match a ledger of changes while the stream's services are killed."""

import json
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from diabetes_platform.contract.topics import CDC_TOPIC, DEAD_LETTER_HEADERS, REJECTED_TOPIC
from diabetes_platform.local.flink.job_state import stream_job_of
from diabetes_platform.local.postgres.connection import database_url
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervisor import ProcessState
from diabetes_platform.polling import wait_until
from diabetes_platform.provisioning.databases import SUPERUSER, WAREHOUSE_DATABASE
from diabetes_platform.settings import Port
from diabetes_platform_tests.ledger import CREATE, Balance, Writer, assert_scored, final_balance
from diabetes_platform_tests.released_model import released
from diabetes_platform_tests.services import state_of, unhealthy_services
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
RECOVERED_SECONDS = 30.0
"""The allowed time until a killed service works again, the predictor with its partitions."""
GIVEN_UP_SECONDS = 180.0
STABLE_SECONDS = 15.0
"""The time of good health before the next kill: each is measured on a platform that has settled."""
BALANCED_SECONDS = 180.0
POISON = (b"{", b"\xff\xfe", b"[" * 1000, b'{"op": "x"}', b"null", b'"text"')


def failures_after_kill(stack: Stack, killed: ProcessState) -> list[str]:
    """Return all unhealthy services, including `killed` until it has a new process."""
    failures = unhealthy_services(stack)
    failures += [killed.name] if state_of(stack, killed.name).pid == killed.pid else []
    failures += [] if stream_job_of(stack).running else ["job"]
    return failures + ([] if predictor_is_ready(stack) else ["predictor's partitions"])


def predictor_is_ready(stack: Stack) -> bool:
    """Return whether the predictor has partitions, a model and a database."""
    with suppress(httpx.TransportError):
        return httpx.get(f"{stack.url(Port.PREDICTOR)}/ready", trust_env=False).is_success
    return False


def kill(stack: Stack, service: str) -> float:
    """Kill a service; return the seconds until all services were healthy and stayed healthy."""
    killed = state_of(stack, service)
    started = time.monotonic()
    os.kill(killed.pid, signal.SIGKILL)
    healthy_since = None
    while healthy_since is None or time.monotonic() - healthy_since < STABLE_SECONDS:
        # Other services notice the loss a moment later.
        if failures := failures_after_kill(stack, killed):
            assert time.monotonic() - started < GIVEN_UP_SECONDS, (service, failures)
            healthy_since = None
        elif healthy_since is None:
            healthy_since = time.monotonic()
        # The supervisor reads all of /proc for each answer.
        time.sleep(1.0)
    return healthy_since - started


class Poisoner:
    """Sends invalid messages to the change topic and records their partitions and offsets."""

    def __init__(self, servers: str) -> None:
        self.offsets: set[tuple[int, int]] = set()
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
        self._producer.produce(CDC_TOPIC, value, key=b'{"id": 1}', on_delivery=self._delivered)
        self._producer.poll(0)

    def finish(self) -> None:
        assert self._producer.flush(120) == 0

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        assert error is None
        self.offsets.add((message.partition() or 0, message.offset() or 0))


def dead_letters(servers: str) -> set[tuple[int, int]]:
    """Return partition and offset in the change topic of each dead letter's original."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "test", "log_level": 0})
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(REJECTED_TOPIC, 0), timeout=30)
        consumer.assign([TopicPartition(REJECTED_TOPIC, 0, 0)])
        originals: set[tuple[int, int]] = set()
        while True:
            messages = consumer.consume(1000, timeout=1)
            for message in messages:
                headers = dict(message.headers() or [])
                assert json.loads(headers[DEAD_LETTER_HEADERS.reasons])
                if headers[DEAD_LETTER_HEADERS.topic] == CDC_TOPIC.encode():
                    partition = int(headers[DEAD_LETTER_HEADERS.partition])
                    originals.add((partition, int(headers[DEAD_LETTER_HEADERS.offset])))
            if (
                not messages
                and consumer.position([TopicPartition(REJECTED_TOPIC, 0)])[0].offset >= end
            ):
                return originals
    finally:
        consumer.close()


@pytest.fixture
def model(storage: Storage) -> Iterator[None]:
    with released(storage):
        yield


@pytest.mark.parametrize(
    ("changes", "rate", "times", "limit"),
    [
        pytest.param(1_000, 200.0, 0, 0, id="1,000 changes, nothing killed"),
        pytest.param(
            2_000,
            20.0,
            1,
            RECOVERED_SECONDS,
            id="20 changes a second, each service killed",
            marks=pytest.mark.soak,
        ),
        # More than two cores can process while a service starts: only the balance counts.
        pytest.param(
            20_000,
            500.0,
            2,
            GIVEN_UP_SECONDS,
            id="20,000 changes, each service killed twice",
            marks=pytest.mark.soak,
        ),
    ],
)
@pytest.mark.usefixtures("model")
def test_predictions_match_the_ledger(
    stack: Stack, changes: int, rate: float, times: int, limit: float
) -> None:
    url = database_url(stack, SUPERUSER, WAREHOUSE_DATABASE)
    servers = f"127.0.0.1:{stack.port(Port.KAFKA)}"
    with psycopg.connect(url) as connection:
        connection.execute(CREATE)
    recovered: list[tuple[str, float]] = []
    writer, poisoner = Writer(url, rate, random.Random(changes)), Poisoner(servers)
    killed, done = threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(writer.write, changes, killed)
        poisoning = pool.submit(poison_until, done, poisoner)
        try:
            for service in KILLED * times:
                seconds = kill(stack, service)
                recovered.append((service, round(seconds, 1)))
                logger.info("%s: healthy after %.1f s, at %s", service, seconds, writer.written)
            killed.set()
            writing.result()
        finally:
            killed.set()
            done.set()
        poisoning.result()
    logger.info("%s changes, %s outages of the database", writer.written, writer.outages)
    assert final_balance(url, BALANCED_SECONDS) == Balance(0, 0)
    assert_scored(url, stack.url(Port.API))
    wait_until(lambda: poisoner.offsets <= dead_letters(servers), timeout=BALANCED_SECONDS)
    assert poisoner.offsets
    assert [service for service in recovered if service[1] > limit] == []


def poison_until(done: threading.Event, poisoner: Poisoner) -> None:
    number = 0
    while not done.wait(0.2):
        poisoner.send(number)
        number += 1
    poisoner.finish()
