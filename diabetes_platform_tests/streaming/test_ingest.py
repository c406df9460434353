"""Ingest runs from a real topic into a real table."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Producer

from diabetes_platform.contract.tables import STREAM_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.incremental_table import IncrementalTable, OffsetRange
from diabetes_platform.polling import wait_until
from diabetes_platform.streaming import ingest as ingest_module
from diabetes_platform.streaming.ingest import (
    IngestRequest,
    IngestResult,
    PartitionsBlockedError,
    ingest,
)
from diabetes_platform.streaming.offsets import MessagesLostError, first_unread_day, next_offsets
from diabetes_platform.streaming.rows import PATIENTS, TopicTable
from diabetes_platform.streaming.topic import Topic, open_topic
from diabetes_platform_tests.capture import Kafka
from diabetes_platform_tests.streaming.sink import (
    COMPACTED,
    Record,
    delete_before,
    message,
    own_topic,
    recreate,
    send,
    tombstone,
)

pytestmark = pytest.mark.integration
TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)
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
    """A topic with one partition."""
    with own_topic(kafka) as name, open_topic(name, kafka.bootstrap_servers) as opened:
        yield opened


def put(kafka: Kafka, topic: Topic, *records: Record, written: datetime | None = None) -> None:
    send(kafka, topic.name, records, written_ms=int(written.timestamp() * 1000) if written else 0)


def request(
    topic: Topic, *ranges: OffsetRange, day: date = TODAY, accept_loss: bool = False
) -> IngestRequest:
    """By default all of partition 0."""
    low, high = topic.watermarks()[0]
    requested = ranges or (OffsetRange(0, low, high - 1),)
    return IngestRequest(topic.topic_id(), day, requested, accept_loss)


def run(
    lake: Lake,
    topic: Topic,
    requested: IngestRequest | None = None,
    topic_table: TopicTable = PATIENTS,
) -> IngestResult:
    return ingest(lake, topic, topic_table, requested or request(topic), TODAY)


def ingest_every_day(lake: Lake, topic: Topic) -> list[IngestResult]:
    """Request and ingest day by day until nothing is unread, as the sensor does."""
    results: list[IngestResult] = []
    while True:
        watermarks = topic.watermarks()
        positions = next_offsets(topic.name, committed_offsets(lake, topic), watermarks)
        unread = first_unread_day(positions, watermarks, topic.day_starts, TODAY)
        if unread is None:
            return results
        day, ranges = unread
        results.append(run(lake, topic, request(topic, *ranges, day=day)))


def change_ids(lake: Lake) -> list[str]:
    rows = lake.stream(STREAM_PATIENTS, ("change_id", "kafka_offset"), {}).read_all().to_pylist()
    return [str(row["change_id"]) for row in sorted(rows, key=lambda row: row["kafka_offset"])]


def committed_offsets(lake: Lake, topic: Topic) -> dict[int, int]:
    table = IncrementalTable.open_or_create(lake, STREAM_PATIENTS)
    return table.committed_offsets(topic.name, topic.topic_id(), topic.watermarks())


def test_ingests_every_message_once(kafka: Kafka, topic: Topic, lake: Lake) -> None:
    put(kafka, topic, message(1, 10), message(2, 11), tombstone(1))
    result = run(lake, topic)
    assert result == IngestResult((OffsetRange(0, 0, 2),), messages=3, deletions=1, rows_added=3)
    assert change_ids(lake) == ["1-10", "2-11", f"1-deleted-{topic.topic_id()}-0-2"]
    assert committed_offsets(lake, topic) == {0: 2}
    assert run(lake, topic) == IngestResult()


def test_reads_from_the_committed_offset_to_the_end_whatever_was_requested(
    kafka: Kafka, topic: Topic, lake: Lake
) -> None:
    put(kafka, topic, message(1, 10), message(2, 11))
    stale = request(topic)
    run(lake, topic, stale)
    put(kafka, topic, message(3, 12), message(4, 13))
    result = run(lake, topic, stale)
    assert (result.ranges, result.rows_added) == ((OffsetRange(0, 2, 3),), 2)


def test_ingests_a_backlog_in_batches_of_one_commit_each(
    kafka: Kafka, topic: Topic, lake: Lake
) -> None:
    put(kafka, topic, *(message(n, n) for n in range(1, 8)))
    small_batches = TopicTable(STREAM_PATIENTS, PATIENTS.row_of, batch_messages=3)
    result = run(lake, topic, topic_table=small_batches)
    assert (result.ranges, result.messages, result.rows_added) == ((OffsetRange(0, 0, 6),), 7, 7)
    history = lake.table(STREAM_PATIENTS).open().history()
    offsets = [commit["offsets"] for commit in history if "offsets" in commit]
    assert offsets == ["0:6-6", "0:3-5", "0:0-2"]


def test_a_run_ends_after_its_last_batch_and_the_next_one_continues(
    kafka: Kafka, topic: Topic, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_module, "MAX_BATCHES", 2)
    put(kafka, topic, *(message(n, n) for n in range(1, 8)))
    small_batches = TopicTable(STREAM_PATIENTS, PATIENTS.row_of, batch_messages=3)
    assert run(lake, topic, topic_table=small_batches).messages == 6
    assert run(lake, topic, topic_table=small_batches).messages == 1


def test_ingests_the_requested_day_only(kafka: Kafka, topic: Topic, lake: Lake) -> None:
    noon = datetime(YESTERDAY.year, YESTERDAY.month, YESTERDAY.day, 12, tzinfo=UTC)
    put(kafka, topic, message(1, 10), message(2, 11), written=noon)
    put(kafka, topic, message(3, 12))
    assert run(lake, topic).ranges == (), "the earlier day comes first"
    assert run(lake, topic, request(topic, day=YESTERDAY)).ranges == (OffsetRange(0, 0, 1),)
    assert run(lake, topic).ranges == (OffsetRange(0, 2, 2),)


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
    wait_until(lambda: topic.watermarks() == {0: (0, 3)}, timeout=30)
    run(lake, topic)
    assert change_ids(lake) == ["1-10", "2-11"]
    assert committed_offsets(lake, topic) == {0: 2}


@pytest.mark.slow
def test_gaps_that_compaction_leaves_are_no_loss(kafka: Kafka, lake: Lake) -> None:
    with (
        own_topic(kafka, 1, FAST_COMPACTION) as name,
        open_topic(name, kafka.bootstrap_servers) as topic,
    ):
        put(kafka, topic, *(message(n % 3 + 1, 10 + n) for n in range(50)))
        for lsn in (100, 101):
            # The next message closes a segment.
            time.sleep(0.3)
            put(kafka, topic, message(9, lsn))
        wait_until(
            lambda: len(list(topic.read(topic.topic_id(), OffsetRange(0, 0, 51)))) < 10, timeout=60
        )
        results = ingest_every_day(lake, topic)
        messages = sum(result.messages for result in results)
        assert messages == sum(result.rows_added for result in results) < 10
        assert {"3-57", "1-58", "2-59", "9-101"} <= set(change_ids(lake))
        assert committed_offsets(lake, topic) == {0: 51}


def test_deleted_offsets_block_their_partition_until_their_loss_is_accepted(
    kafka: Kafka, topic: Topic, lake: Lake
) -> None:
    put(kafka, topic, message(1, 1), message(2, 2))
    run(lake, topic)
    put(kafka, topic, *(message(n, n) for n in range(3, 7)))
    delete_before(kafka, topic.name, 0, 4)
    requested = request(topic, OffsetRange(0, 2, 3))
    with pytest.raises(
        PartitionsBlockedError, match="deleted offsets of 2 to 3; available: 4 to 5"
    ) as error:
        run(lake, topic, requested)
    assert error.value.offsets == {0: 2}
    assert committed_offsets(lake, topic) == {0: 1}
    accepted = run(lake, topic, request(topic, OffsetRange(0, 2, 3), accept_loss=True))
    assert (accepted.ranges, accepted.lost_offsets) == ((OffsetRange(0, 2, 3),), 2)
    assert run(lake, topic).rows_added == 2
    assert committed_offsets(lake, topic) == {0: 5}


def test_all_unread_offsets_may_be_deleted(kafka: Kafka, topic: Topic, lake: Lake) -> None:
    put(kafka, topic, message(1, 1))
    run(lake, topic)
    put(kafka, topic, *(message(n, n) for n in range(2, 7)))
    delete_before(kafka, topic.name, 0, 6)
    requested = request(topic, OffsetRange(0, 1, 5))
    with pytest.raises(PartitionsBlockedError, match="Kafka has deleted"):
        run(lake, topic, requested)
    result = run(lake, topic, request(topic, OffsetRange(0, 1, 5), accept_loss=True))
    assert (result.lost_offsets, result.rows_added) == (5, 0)


def test_messages_deleted_before_the_first_successful_run_are_lost_too(
    kafka: Kafka, topic: Topic, lake: Lake
) -> None:
    put(kafka, topic, (b"{}", b"no json"), message(2, 11))
    with pytest.raises(PartitionsBlockedError, match=r"key\.id:missing"):
        run(lake, topic)
    delete_before(kafka, topic.name, 0, 1)
    with pytest.raises(PartitionsBlockedError, match="deleted offsets of 0 to 0"):
        run(lake, topic)


def test_a_topic_that_ends_before_the_committed_offset_fails_the_run(
    kafka: Kafka, topic: Topic, lake: Lake
) -> None:
    put(kafka, topic, message(1, 10))
    table = IncrementalTable.open_or_create(lake, STREAM_PATIENTS)
    table.commit_offsets(topic.name, topic.topic_id(), {0: 8})
    with pytest.raises(MessagesLostError, match="the broker has lost messages"):
        run(lake, topic)


def test_a_recreated_topic_has_other_messages_at_the_same_offsets(
    kafka: Kafka, topic: Topic, lake: Lake
) -> None:
    put(kafka, topic, message(1, 10), message(2, 11))
    run(lake, topic)
    recreate(kafka, topic.name)
    put(kafka, topic, message(1, 10), message(3, 12))
    assert run(lake, topic).rows_added == 1, "the other change is in the table already"
    assert sorted(change_ids(lake)) == ["1-10", "2-11", "3-12"]


def test_unread_offsets_of_a_recreated_topic_are_lost(
    kafka: Kafka, topic: Topic, lake: Lake
) -> None:
    put(kafka, topic, message(1, 10), message(2, 11))
    run(lake, topic)
    put(kafka, topic, message(3, 12))
    unread, previous_id = OffsetRange(0, 2, 2), topic.topic_id()
    recreate(kafka, topic.name)
    with pytest.raises(
        PartitionsBlockedError,
        match=f"id {re.escape(previous_id)} was deleted .* its offsets 2 to 2 were ingested",
    ) as error:
        run(lake, topic, IngestRequest(previous_id, TODAY, (unread,)))
    assert error.value.offsets == {0: 2}
    accepted = IngestRequest(previous_id, TODAY, (unread,), accept_loss=True)
    assert run(lake, topic, accepted) == IngestResult((unread,), lost_offsets=1)
    assert run(lake, topic, IngestRequest(previous_id, TODAY, (unread,))) == IngestResult()


def test_an_unreadable_message_blocks_its_partition_and_no_other(kafka: Kafka, lake: Lake) -> None:
    with own_topic(kafka, 2) as name, open_topic(name, kafka.bootstrap_servers) as topic:
        send(kafka, name, [message(1, 10), (b"{}", b"no json"), message(2, 11)], partition=0)
        send(kafka, name, [message(3, 12)], partition=1)
        ranges = (OffsetRange(0, 0, 2), OffsetRange(1, 0, 0))
        with pytest.raises(PartitionsBlockedError, match=rf"{name}-0-1: key\.id:missing") as error:
            run(lake, topic, request(topic, *ranges))
        assert error.value.offsets == {0: 0}
        assert committed_offsets(lake, topic) == {0: -1, 1: 0}
        result = run(lake, topic, request(topic, *ranges, accept_loss=True))
        assert (result.rows_added, result.messages, len(result.unreadable)) == (2, 3, 1)
        assert sorted(change_ids(lake)) == ["1-10", "2-11", "3-12"]


def test_accepts_the_loss_of_the_blocked_batch_only(kafka: Kafka, topic: Topic, lake: Lake) -> None:
    unreadable = (b"{}", b"no json")
    changes = [message(n, n) for n in range(1, 5)]
    put(kafka, topic, changes[0], changes[1], unreadable, changes[2], changes[3], unreadable)
    pairs = TopicTable(STREAM_PATIENTS, PATIENTS.row_of, batch_messages=2)
    requested = request(topic, OffsetRange(0, 0, 0))
    with pytest.raises(PartitionsBlockedError, match=f"{topic.name}-0-2: ") as error:
        run(lake, topic, requested, pairs)
    assert error.value.offsets == {0: 2}
    accepted = run(lake, topic, replace(requested, accept_loss=True), pairs)
    assert (accepted.ranges, len(accepted.unreadable)) == ((OffsetRange(0, 2, 3),), 1)
    with pytest.raises(PartitionsBlockedError, match=f"{topic.name}-0-5: ") as error:
        run(lake, topic, requested, pairs)
    assert error.value.offsets == {0: 4}


def test_all_partitions_share_a_commit(kafka: Kafka, lake: Lake) -> None:
    with own_topic(kafka, 2) as name, open_topic(name, kafka.bootstrap_servers) as topic:
        send(kafka, name, [message(1, 10), message(2, 11)], partition=0)
        send(kafka, name, [message(3, 12)], partition=1)
        result = run(lake, topic, request(topic, OffsetRange(0, 0, 1), OffsetRange(1, 0, 0)))
        assert (result.messages, result.rows_added) == (3, 3)
        table = lake.table(STREAM_PATIENTS).open()
        assert table.version() == 2, "the table, its start offsets, all messages"
        assert table.history(1)[0]["offsets"] == "0:0-1,1:0-0"
        assert committed_offsets(lake, topic) == {0: 1, 1: 0}


def test_the_broker_knows_where_a_day_starts(kafka: Kafka, topic: Topic) -> None:
    noon = datetime(YESTERDAY.year, YESTERDAY.month, YESTERDAY.day, 12, tzinfo=UTC)
    put(kafka, topic, message(1, 1), message(2, 2), written=noon)
    put(kafka, topic, message(3, 3))
    assert [topic.day_starts(day)[0] for day in (date(2026, 1, 1), YESTERDAY, TODAY)] == [0, 0, 2]
    assert topic.day_starts(TODAY + timedelta(days=1)) == {0: 3}
