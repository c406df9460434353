"""The headers of dead letters, read from a real broker without a trace."""

import json
import time

import pytest
from confluent_kafka import KafkaException, Producer

from diabetes_platform.contract.events import DEAD_LETTER_HEADERS, REJECTED_TOPIC
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.streaming import dead_letters
from diabetes_platform.streaming.dead_letters import look
from diabetes_platform_tests.capture import Kafka, eventually


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def reject(kafka: Kafka, *letters: tuple[str, ...]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 0})
    for reasons in letters:
        headers = [(DEAD_LETTER_HEADERS.reasons, json.dumps(reasons).encode())]
        producer.produce(REJECTED_TOPIC, b"{", headers=headers)
    assert producer.flush(30) == 0


def answers(servers: str) -> bool:
    try:
        look(servers, {}, now_ms())
    except KafkaException:
        return False
    return True


@pytest.mark.integration
def test_each_dead_letter_is_seen_once_and_nothing_is_committed(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = kafka.bootstrap_servers
    # A topic just made has no leader yet.
    eventually(lambda: answers(servers))
    before = look(servers, {}, now_ms())
    reject(kafka, ("age:missing",), ("bmi:not_a_number", "key:missing"))
    seen = look(servers, before.offsets, now_ms())
    assert [one.reasons for one in seen.letters] == [
        ("age:missing",),
        ("bmi:not_a_number", "key:missing"),
    ]
    assert seen.letters[0].place == f"{REJECTED_TOPIC}-0-{before.offsets[0]}"
    assert abs(now_ms() - seen.letters[0].rejected_ms) < 60_000
    assert look(servers, seen.offsets, now_ms()) == dead_letters.Look((), seen.offsets)
    # What came within the last minutes is seen by a first look, and no more of it than is allowed.
    assert look(servers, {}, now_ms()).letters[-2:] == seen.letters
    monkeypatch.setattr(dead_letters, "MOST", 1)
    assert look(servers, before.offsets, now_ms()).letters == seen.letters[-1:]
    hour_later = now_ms() + 3_600_000
    assert look(servers, {}, hour_later) == dead_letters.Look((), seen.offsets)
    groups = kafka.admin.list_consumer_groups().result().valid
    assert "dead-letter-alerts" not in {group.group_id for group in groups}


@pytest.mark.integration
def test_a_broker_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "_SECONDS", 0.5)
    with pytest.raises(KafkaException):
        look(f"{HOST}:{free_port()}", {}, now_ms())
