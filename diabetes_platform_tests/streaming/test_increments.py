"""Ranges of a real topic in a real table: what is there, what is gone, what cannot be read."""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition

from diabetes_platform.contract.tables import STREAM_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.increments import committed_offsets
from diabetes_platform.streaming.destinations import PATIENTS
from diabetes_platform.streaming.increments import (
    Brought,
    IncrementOrderError,
    IncrementRefusedError,
    Part,
    bring,
)
from diabetes_platform.streaming.ranges import Increment, Range
from diabetes_platform.streaming.topic import Topic, opened
from diabetes_platform_tests.capture import Kafka, eventually
from diabetes_platform_tests.streaming.sink import (
    COMPACTED,
    Record,
    message,
    own_topic,
    remake,
    send,
    tombstone,
)

pytestmark = pytest.mark.integration
TODAY = datetime.now(UTC).date()
FAST_COMPACTION = {
    **COMPACTED,
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "100",
}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def topic(kafka: Kafka) -> Iterator[Topic]:
    """A topic of the test's own."""
    with own_topic(kafka) as name, opened(name, kafka.bootstrap_servers) as made:
        yield made


def put(kafka: Kafka, topic: Topic, *records: Record, written: datetime | None = None) -> None:
    send(kafka, topic.name, records, written_ms=int(written.timestamp() * 1000) if written else 0)


def increment(topic: Topic, first: int, last: int) -> Increment:
    return Increment(topic.name, topic.topic_id(), TODAY, (Range(0, first, last),))


def changes(lake: Lake) -> list[str]:
    rows = lake.stream(STREAM_PATIENTS, ("change_id", "kafka_offset"), {}).read_all().to_pylist()
    return [str(row["change_id"]) for row in sorted(rows, key=lambda row: row["kafka_offset"])]


def forget(kafka: Kafka, topic: Topic, before: int) -> None:
    """Have Kafka delete what lies before an offset, as retention does."""
    place = TopicPartition(topic.name, 0, before)
    kafka.admin.delete_records([place])[place].result(30)


def test_a_range_is_exactly_its_messages(kafka: Kafka, topic: Topic, lake: Lake) -> None:
    put(kafka, topic, message(1, 10), message(2, 11), tombstone(1), message(3, 12), message(3, 13))
    brought = bring(lake, topic, PATIENTS, increment(topic, 1, 3))
    (part,) = brought.parts
    assert (part.messages, brought.rows, part.deletions) == (3, 3, 1)
    assert changes(lake) == ["2-11", f"1-deleted-{topic.topic_id()}-0-2", "3-12"]
    assert committed_offsets(lake, topic.name, topic.topic_id(), [0]) == {0: 3}


def test_a_range_again_or_one_that_overlaps_adds_what_is_new(
    kafka: Kafka, topic: Topic, lake: Lake
) -> None:
    put(kafka, topic, message(1, 10), message(2, 11), tombstone(2), message(3, 12))
    bring(lake, topic, PATIENTS, increment(topic, 0, 2))
    again = bring(lake, topic, PATIENTS, increment(topic, 0, 2))
    assert again == Brought((Part(Range(0, 0, 2)),), 0)
    more = bring(lake, topic, PATIENTS, increment(topic, 0, 3))
    assert more == Brought((Part(Range(0, 3, 3), messages=1),), 1)
    assert len(changes(lake)) == 4


def test_a_range_waits_for_the_one_before_it(kafka: Kafka, topic: Topic, lake: Lake) -> None:
    put(kafka, topic, *(message(n, n) for n in range(6)))
    bring(lake, topic, PATIENTS, increment(topic, 0, 1))
    with pytest.raises(IncrementOrderError, match="given offsets from 4 on, allowed 2"):
        bring(lake, topic, PATIENTS, increment(topic, 4, 5))


def test_an_offset_without_a_message_is_no_loss(kafka: Kafka, topic: Topic, lake: Lake) -> None:
    put(kafka, topic, message(1, 10))
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic.name}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    key, value = message(2, 11)
    producer.produce(topic.name, key=key, value=value)
    producer.commit_transaction(30)
    # The commit itself takes an offset.
    eventually(lambda: topic.ends() == {0: (0, 3)})
    bring(lake, topic, PATIENTS, increment(topic, 0, 2))
    assert changes(lake) == ["1-10", "2-11"]
    assert committed_offsets(lake, topic.name, topic.topic_id(), [0]) == {0: 2}


@pytest.mark.slow
def test_holes_that_compaction_leaves_are_no_loss(kafka: Kafka, lake: Lake) -> None:
    with own_topic(kafka, 1, FAST_COMPACTION) as name, opened(name, kafka.bootstrap_servers) as own:
        put(kafka, own, *(message(n % 3, 10 + n) for n in range(50)))
        for lsn in (100, 101):
            # A segment is closed by the next message.
            time.sleep(0.3)
            put(kafka, own, message(9, lsn))
        eventually(lambda: len(list(own.read("", Range(0, 0, 51)))) < 10, seconds=60)
        brought = bring(lake, own, PATIENTS, increment(own, 0, 51))
        assert brought.parts[0].messages == brought.rows < 10
        assert {"2-57", "0-58", "1-59", "9-101"} <= set(changes(lake))
        assert committed_offsets(lake, name, own.topic_id(), [0]) == {0: 51}


def test_what_kafka_has_deleted_is_refused_and_gone_without_only_when_told(
    kafka: Kafka, topic: Topic, lake: Lake
) -> None:
    put(kafka, topic, *(message(n, n) for n in range(6)))
    bring(lake, topic, PATIENTS, increment(topic, 0, 1))
    forget(kafka, topic, 4)
    with pytest.raises(IncrementRefusedError, match="given offsets 2 to 5, allowed 4 to 5") as told:
        bring(lake, topic, PATIENTS, increment(topic, 2, 5))
    assert told.value.partitions == {0}
    assert committed_offsets(lake, topic.name, topic.topic_id(), [0]) == {0: 1}
    brought = bring(lake, topic, PATIENTS, increment(topic, 2, 5), accept_loss=True)
    assert (brought.parts[0].lost, brought.rows) == (2, 2)
    assert committed_offsets(lake, topic.name, topic.topic_id(), [0]) == {0: 5}


def test_all_of_a_range_may_be_gone(kafka: Kafka, topic: Topic, lake: Lake) -> None:
    put(kafka, topic, *(message(n, n) for n in range(6)))
    forget(kafka, topic, 6)
    with pytest.raises(IncrementRefusedError, match="Kafka has deleted"):
        bring(lake, topic, PATIENTS, increment(topic, 0, 5))
    brought = bring(lake, topic, PATIENTS, increment(topic, 0, 5), accept_loss=True)
    assert (brought.parts[0].lost, brought.rows) == (6, 0)


def test_a_topic_made_anew_has_other_messages_at_the_same_offsets(kafka: Kafka, lake: Lake) -> None:
    with own_topic(kafka) as name, opened(name, kafka.bootstrap_servers) as own:
        put(kafka, own, message(1, 10), message(2, 11))
        old = increment(own, 0, 1)
        bring(lake, own, PATIENTS, old)
        remake(kafka, name)
        put(kafka, own, message(1, 10), message(3, 12))
        more = Increment(name, old.topic_id, TODAY, (Range(0, 2, 3),))
        with pytest.raises(IncrementRefusedError, match="deleted and made anew before they were"):
            bring(lake, own, PATIENTS, more)
        brought = bring(lake, own, PATIENTS, increment(own, 0, 1))
        assert brought.rows == 1, "what was there before is the same change"
        assert sorted(changes(lake)) == ["1-10", "2-11", "3-12"]


def test_a_message_that_cannot_be_read_stops_its_partition_and_no_other(
    kafka: Kafka, lake: Lake
) -> None:
    with own_topic(kafka, 2) as name, opened(name, kafka.bootstrap_servers) as own:
        send(kafka, name, [message(1, 10), (b"{}", b"no json"), message(2, 11)], partition=0)
        send(kafka, name, [message(3, 12)], partition=1)
        both = Increment(name, own.topic_id(), TODAY, (Range(0, 0, 2), Range(1, 0, 0)))
        with pytest.raises(IncrementRefusedError, match=f"{name}-0-1: id: missing") as told:
            bring(lake, own, PATIENTS, both)
        assert told.value.partitions == {0}
        assert committed_offsets(lake, name, own.topic_id(), [0, 1]) == {1: 0}
        brought = bring(lake, own, PATIENTS, both, accept_loss=True)
        part, known = brought.parts
        assert (brought.rows, len(part.unreadable), known.messages) == (2, 1, 0)
        assert sorted(changes(lake)) == ["1-10", "2-11", "3-12"]


def test_all_partitions_of_an_increment_come_by_one_commit(kafka: Kafka, lake: Lake) -> None:
    with own_topic(kafka, 2) as name, opened(name, kafka.bootstrap_servers) as own:
        send(kafka, name, [message(1, 10), message(2, 11)], partition=0)
        send(kafka, name, [message(3, 12)], partition=1)
        both = Increment(name, own.topic_id(), TODAY, (Range(0, 0, 1), Range(1, 0, 0)))
        before = lake.table(STREAM_PATIENTS).exists()
        brought = bring(lake, own, PATIENTS, both)
        assert [part.messages for part in brought.parts] == [2, 1]
        assert brought.rows == 3
        table = lake.table(STREAM_PATIENTS).open()
        assert (before, table.version()) == (False, 1), "one to make it, one for all messages"
        assert table.history(1)[0]["offsets"] == "0:0-1,1:0-0"
        assert committed_offsets(lake, name, own.topic_id(), [0, 1]) == {0: 1, 1: 0}


def test_the_broker_says_where_a_day_begins(kafka: Kafka, topic: Topic) -> None:
    noon = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC) - timedelta(hours=12)
    put(kafka, topic, message(1, 1), message(2, 2), written=noon)
    put(kafka, topic, message(3, 3))
    yesterday = TODAY - timedelta(days=1)
    assert [topic.begins(day)[0] for day in (date(2026, 1, 1), yesterday, TODAY)] == [0, 0, 2]
    assert topic.begins(TODAY + timedelta(days=1)) == {0: 3}
