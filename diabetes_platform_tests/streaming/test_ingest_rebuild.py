"""Rebuilding a day from a real topic while it has the day, else from the table's history."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from diabetes_platform.contract.tables import STREAM_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.incremental_table import DayHistory, IncrementalTable, OffsetRange
from diabetes_platform.streaming.ingest import (
    DayLostError,
    IngestRequest,
    RebuildResult,
    incompleteness,
    ingest,
    rebuild,
)
from diabetes_platform.streaming.rows import PATIENTS
from diabetes_platform.streaming.topic import Topic, open_topic
from diabetes_platform_tests.capture import Kafka
from diabetes_platform_tests.streaming.sink import (
    delete_before,
    message,
    own_topic,
    send,
    tombstone,
)

TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def topic(kafka: Kafka) -> Iterator[Topic]:
    """A topic with four changes of yesterday and two of today."""
    with own_topic(kafka) as name, open_topic(name, kafka.bootstrap_servers) as opened:
        noon = datetime(YESTERDAY.year, YESTERDAY.month, YESTERDAY.day, 12, tzinfo=UTC)
        changes = [message(1, 10), message(2, 11), tombstone(2), message(3, 12)]
        send(kafka, name, changes, written_ms=int(noon.timestamp() * 1000))
        send(kafka, name, [message(4, 13), message(1, 14)])
        yield opened


def ingest_all(lake: Lake, topic: Topic) -> None:
    for day, first, last in ((YESTERDAY, 0, 3), (TODAY, 4, 5)):
        requested = IngestRequest(topic.topic_id(), day, (OffsetRange(0, first, last),))
        ingest(lake, topic, PATIENTS, requested, TODAY)


def rebuild_day(lake: Lake, topic: Topic, day: date = YESTERDAY) -> RebuildResult:
    return rebuild(lake, topic, PATIENTS, day, TODAY)


def delete_rows(lake: Lake, predicate: str) -> None:
    lake.table(STREAM_PATIENTS).open().delete(predicate)


def open_table(lake: Lake) -> IncrementalTable:
    return IncrementalTable.open_or_create(lake, STREAM_PATIENTS)


def row_count(lake: Lake, day: date) -> int:
    return open_table(lake).count_rows(day.isoformat())


@pytest.mark.integration
def test_rebuilds_a_day_from_kafka_and_leaves_the_offsets_alone(topic: Topic, lake: Lake) -> None:
    result = rebuild_day(lake, topic)
    assert result == RebuildResult("kafka", 4, 4, (OffsetRange(0, 0, 3),))
    assert row_count(lake, TODAY) == 0
    assert open_table(lake).committed_offsets(topic.name, topic.topic_id(), [0]) == {}
    assert rebuild_day(lake, topic, TODAY).rows_added == 2


@pytest.mark.integration
def test_a_rebuild_that_has_all_earlier_offsets_advances_the_committed_one(
    topic: Topic, lake: Lake
) -> None:
    requested = IngestRequest(topic.topic_id(), YESTERDAY, (OffsetRange(0, 0, 3),))
    ingest(lake, topic, PATIENTS, requested, TODAY)
    rebuild_day(lake, topic, TODAY)
    assert open_table(lake).committed_offsets(topic.name, topic.topic_id(), [0]) == {0: 5}


@pytest.mark.integration
def test_a_complete_day_stays_as_it_is(topic: Topic, lake: Lake) -> None:
    ingest_all(lake, topic)
    result = rebuild_day(lake, topic)
    assert (result.source, result.rows, result.rows_added) == ("kafka", 4, 0)


@pytest.mark.integration
def test_restores_deleted_rows_from_kafka(topic: Topic, lake: Lake) -> None:
    ingest_all(lake, topic)
    delete_rows(lake, "id = 2")
    assert rebuild_day(lake, topic).rows_added == 2
    assert (row_count(lake, YESTERDAY), row_count(lake, TODAY)) == (4, 2)


@pytest.mark.integration
def test_restores_deleted_rows_from_history_if_kafka_has_deleted_them(
    kafka: Kafka, topic: Topic, lake: Lake
) -> None:
    ingest_all(lake, topic)
    delete_rows(lake, "id = 2")
    delete_rows(lake, f"day = '{YESTERDAY}'")
    delete_before(kafka, topic.name, 0, 3)
    result = rebuild_day(lake, topic)
    assert (result.source, result.rows, result.rows_added) == ("history", 4, 4)
    assert rebuild_day(lake, topic).rows_added == 0
    assert row_count(lake, TODAY) == 2


@pytest.mark.integration
def test_fails_if_neither_kafka_nor_history_has_the_day(
    kafka: Kafka, topic: Topic, lake: Lake
) -> None:
    delete_before(kafka, topic.name, 0, 3)
    with pytest.raises(
        DayLostError, match=f"{YESTERDAY}: Kafka .* no ingest of this day; .* 1 row"
    ):
        rebuild_day(lake, topic)


@pytest.mark.integration
def test_fails_if_vacuum_has_removed_the_files(kafka: Kafka, topic: Topic, lake: Lake) -> None:
    ingest_all(lake, topic)
    delete_rows(lake, f"day = '{YESTERDAY}'")
    lake.table(STREAM_PATIENTS).open().vacuum(
        retention_hours=0, dry_run=False, enforce_retention_duration=False
    )
    delete_before(kafka, topic.name, 0, 4)
    with pytest.raises(DayLostError, match=r"VACUUM has removed the files .* 0 rows of the day"):
        rebuild_day(lake, topic)


@pytest.mark.integration
def test_a_day_without_messages_is_complete(topic: Topic, lake: Lake) -> None:
    assert rebuild_day(lake, topic, YESTERDAY - timedelta(days=5)).rows == 0


@pytest.mark.parametrize(
    ("history", "rows", "unreadable_version", "reason"),
    [
        (DayHistory(5, (), complete=True), 5, None, None),
        pytest.param(DayHistory(5, (), complete=True), 6, None, None, id="a rebuild added more"),
        (DayHistory(5, (3,), complete=True), 4, None, "5 rows of the day were ingested"),
        (DayHistory(5, (3,), complete=True), 4, 3, "removed the files of version 3"),
        (DayHistory(0, (), complete=True), 0, None, "no ingest of this day"),
        (DayHistory(5, (), complete=False), 5, None, "reaches back neither"),
    ],
)
def test_the_history_shows_whether_a_day_is_complete(
    history: DayHistory, rows: int, unreadable_version: int | None, reason: str | None
) -> None:
    problem = incompleteness(history, rows, unreadable_version)
    assert problem is None if reason is None else reason in (problem or "")
