"""Messages of the maximum size of the change topic, on the running platform."""

import json
import secrets
from collections.abc import Iterator

import psycopg
import pytest
from confluent_kafka import KafkaError, Message, Producer

from diabetes_platform.contract.change_events import SINK_KEYS
from diabetes_platform.contract.topics import CDC_TOPIC, REJECTED_TOPIC
from diabetes_platform.local.postgres.connection import database_url
from diabetes_platform.local.stack import Stack
from diabetes_platform.streaming.load_events import FIRST_UNUSED_ID, change_event
from diabetes_platform_tests.integration.test_stream_job import insert, messages, servers, written
from diabetes_platform_tests.samples import EXAMPLE
from diabetes_platform_tests.services import within

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

OVERHEAD = 300
"""Bytes of a message besides its value."""
LIMIT = 262_144 - OVERHEAD


@pytest.fixture
def database(stack: Stack) -> Iterator[psycopg.Connection]:
    with psycopg.connect(
        database_url(stack, "postgres", "diabetes"), autocommit=True
    ) as connection:
        yield connection


def test_a_message_of_the_maximum_size_is_processed_with_any_compression(
    stack: Stack, database: psycopg.Connection
) -> None:
    # Random text does not compress: the limits of later topics apply to compressed messages.
    poison = b"[" + secrets.token_hex(LIMIT // 2).encode()[1:]
    row_id = FIRST_UNUSED_ID + secrets.randbelow(FIRST_UNUSED_ID)
    good = change_event(row_id, EXAMPLE, lsn=1, now_ms=1)
    good["after"]["note"] = ""
    free_bytes = LIMIT - len(json.dumps(good))
    good["after"]["note"] = secrets.token_hex(free_bytes // 2)
    errors: list[KafkaError | None] = []
    for compression in ("none", "zstd"):
        config = {"bootstrap.servers": servers(stack), "compression.type": compression}
        producer = Producer({**config, "linger.ms": 0, "batch.size": 100_000})
        key = json.dumps({"id": row_id}).encode()
        for value in (poison, json.dumps(good).encode()):
            producer.produce(
                CDC_TOPIC, value, key, on_delivery=lambda error, _: errors.append(error)
            )
        assert producer.flush(30) == 0
    assert errors == [None] * 4
    within(60, lambda: written(stack, row_id))
    within(60, lambda: len(letters(stack, poison)) == 2)
    assert [tuple(image or ()) for image in written(stack, row_id)] == [SINK_KEYS]
    later = insert(database)
    within(30, lambda: written(stack, later))


def letters(stack: Stack, value: bytes) -> list[Message]:
    """Return the dead letters with this value."""
    return [letter for letter in messages(stack, REJECTED_TOPIC) if letter.value() == value]
