"""Messages as large as the topic of changes takes them, on the running platform."""

import json
import secrets
from collections.abc import Iterator

import psycopg
import pytest
from confluent_kafka import KafkaError, Message, Producer

from diabetes_platform.contract.events import CDC_TOPIC, REJECTED_TOPIC, SINK_KEYS
from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.local.environments import database_url
from diabetes_platform.local.stack import Stack
from diabetes_platform.streaming.broken_events import NOBODY, change_event
from diabetes_platform_tests.integration.test_stream_job import insert, messages, servers, written
from diabetes_platform_tests.services import within

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ROOM = 300
"""What a message takes of the topic's limit besides its value."""
LIMIT = 262_144 - ROOM


@pytest.fixture
def database(stack: Stack) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url(stack, "postgres", "diabetes"), autocommit=True) as opened:
        yield opened


def test_the_largest_message_is_a_dead_letter_or_an_image_however_it_was_packed(
    stack: Stack, database: psycopg.Connection
) -> None:
    # Random text: the limits of the topics behind this one are of packed messages.
    poison = b"[" + secrets.token_hex(LIMIT // 2).encode()[1:]
    patient = {field.name: field.example for field in FEATURES}
    row_id = NOBODY + secrets.randbelow(NOBODY)
    good = change_event(row_id, patient, lsn=1, now_ms=1)
    good["after"]["note"] = ""
    room = LIMIT - len(json.dumps(good))
    good["after"]["note"] = secrets.token_hex(room // 2)
    refused: list[KafkaError | None] = []
    for compression in ("none", "zstd"):
        given = {"bootstrap.servers": servers(stack), "compression.type": compression}
        producer = Producer({**given, "linger.ms": 0, "batch.size": 100_000})
        key = json.dumps({"id": row_id}).encode()
        for value in (poison, json.dumps(good).encode()):
            producer.produce(
                CDC_TOPIC, value, key, on_delivery=lambda error, _: refused.append(error)
            )
        assert producer.flush(30) == 0
    assert refused == [None] * 4
    within(60, lambda: written(stack, row_id))
    within(60, lambda: len(letters(stack, poison)) == 2)
    assert [tuple(image or ()) for image in written(stack, row_id)] == [SINK_KEYS]
    later = insert(database)
    within(30, lambda: written(stack, later))


def letters(stack: Stack, value: bytes) -> list[Message]:
    """The dead letters of one value."""
    return [one for one in messages(stack, REJECTED_TOPIC) if one.value() == value]
