"""Dead letters: their reasons as issues, and polls of a real topic that commit nothing."""

import json
import os
import signal
import time

import pytest
from confluent_kafka import KafkaException, Producer

from diabetes_platform.contract.topics import DEAD_LETTER_HEADERS, REJECTED_TOPIC
from diabetes_platform.lake.incremental_table import OffsetRange
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.polling import wait_until
from diabetes_platform.streaming import dead_letters, topic
from diabetes_platform.streaming.dead_letters import (
    NO_REASONS,
    DeadLetter,
    DeadLetterPoll,
    parse_reasons,
    poll_dead_letters,
    rejection_issues,
    start_offset,
)
from diabetes_platform.streaming.incidents import HealthIssue
from diabetes_platform.streaming.topic import open_topic
from diabetes_platform_tests.capture import Kafka
from diabetes_platform_tests.streaming.sink import message, own_topic, send

NOW = 1_800_000_000_000


def letter(number: int, *reasons: str, at: int = NOW) -> DeadLetter:
    return DeadLetter(reasons, at, f"topic-0-{number}")


def test_reports_one_issue_per_reason_with_the_first_position() -> None:
    letters = [
        letter(1, "age:missing"),
        letter(2, "age:missing", "bmi:not_a_number", "age:missing", at=NOW + 1),
    ]
    assert rejection_issues(letters) == [
        HealthIssue("age:missing", "topic-0-1", 2, NOW, NOW + 1),
        HealthIssue("bmi:not_a_number", "topic-0-2", 1, NOW + 1, NOW + 1),
    ]


def test_reports_a_dead_letter_without_reasons() -> None:
    assert [issue.subject for issue in rejection_issues([letter(1)])] == [NO_REASONS]


@pytest.mark.parametrize(
    ("saved", "low", "high", "offset"),
    [
        pytest.param(7, 0, 10, 7, id="new messages"),
        pytest.param(10, 0, 10, 10, id="no new messages"),
        pytest.param(7, 8, 10, 8, id="messages deleted"),
        pytest.param(70, 0, 10, 0, id="topic recreated"),
        pytest.param(7, 0, 5000, 4900, id="backlog"),
        pytest.param(7, 4990, 5000, 4990, id="backlog deleted"),
    ],
)
def test_continues_at_the_saved_offset(saved: int, low: int, high: int, offset: int) -> None:
    assert start_offset(saved, low, high, limit=100) == offset


@pytest.mark.parametrize(
    ("header", "reasons"),
    [
        (b'["age:missing","key:missing"]', ("age:missing", "key:missing")),
        (None, (NO_REASONS,)),
        (b"[]", (NO_REASONS,)),
        (b"\xff", (NO_REASONS,)),
        (b'"age:missing"', (NO_REASONS,)),
    ],
)
def test_parses_the_reasons_header(header: bytes | None, reasons: tuple[str, ...]) -> None:
    assert parse_reasons(header) == reasons


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def reject(kafka: Kafka, *letters: tuple[str, ...]) -> None:
    """Write a dead letter for each tuple of reasons."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 0})
    for reasons in letters:
        headers = [(DEAD_LETTER_HEADERS.reasons, json.dumps(reasons).encode())]
        producer.produce(REJECTED_TOPIC, b"{", headers=headers)
    assert producer.flush(30) == 0


def can_poll(servers: str) -> bool:
    try:
        poll_dead_letters(servers, {}, now_ms())
    except KafkaException:
        return False
    return True


@pytest.mark.integration
def test_reads_each_dead_letter_once_and_commits_nothing(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = kafka.bootstrap_servers
    # A new topic has no leader for a moment.
    wait_until(lambda: can_poll(servers), timeout=30)
    start = poll_dead_letters(servers, {}, now_ms())
    reject(kafka, ("age:missing",), ("bmi:not_a_number", "key:missing"))
    with monkeypatch.context() as no_time:
        no_time.setattr(dead_letters, "_SECONDS", 0.0)
        unread = poll_dead_letters(servers, start.offsets, now_ms())
    assert unread == DeadLetterPoll((), start.offsets)
    poll = poll_dead_letters(servers, start.offsets, now_ms())
    assert [letter.reasons for letter in poll.letters] == [
        ("age:missing",),
        ("bmi:not_a_number", "key:missing"),
    ]
    assert poll.letters[0].position == f"{REJECTED_TOPIC}-0-{start.offsets[0]}"
    assert abs(now_ms() - poll.letters[0].rejected_ms) < 60_000
    assert poll_dead_letters(servers, poll.offsets, now_ms()) == DeadLetterPoll((), poll.offsets)
    # A first poll reads the last minutes, up to the limit.
    assert poll_dead_letters(servers, {}, now_ms()).letters[-2:] == poll.letters
    monkeypatch.setattr(dead_letters, "MAX_MESSAGES", 1)
    assert poll_dead_letters(servers, start.offsets, now_ms()).letters == poll.letters[-1:]
    hour_later = now_ms() + 3_600_000
    assert poll_dead_letters(servers, {}, hour_later) == DeadLetterPoll((), poll.offsets)
    groups = kafka.admin.list_consumer_groups().result().valid
    assert topic.GROUP not in {group.group_id for group in groups}


@pytest.mark.integration
def test_a_read_from_a_stalled_broker_ends_at_its_deadline(kafka: Kafka) -> None:
    with own_topic(kafka) as name, open_topic(name, kafka.bootstrap_servers) as opened:
        send(kafka, name, [message(1, 10)])
        topic_id = opened.topic_id()
        os.kill(kafka.pid, signal.SIGSTOP)
        try:
            deadline = time.monotonic() + 0.5
            assert list(opened.read(topic_id, OffsetRange(0, 0, 0), deadline)) == []
            assert time.monotonic() < deadline + 2
        finally:
            os.kill(kafka.pid, signal.SIGCONT)
        assert len(list(opened.read(topic_id, OffsetRange(0, 0, 0)))) == 1


@pytest.mark.integration
def test_fails_if_the_broker_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic, "_REQUEST_SECONDS", 0.5)
    with pytest.raises(KafkaException):
        poll_dead_letters(f"{HOST}:{free_port()}", {}, now_ms())
