"""Rebuilding a day from a real topic while it has it, else from the table's history."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from diabetes_platform.contract.tables import STREAM_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.increments import committed_offsets, count_rows
from diabetes_platform.lake.stream_history import DayHistory
from diabetes_platform.streaming.destinations import PATIENTS
from diabetes_platform.streaming.increments import bring
from diabetes_platform.streaming.ranges import Increment, Range
from diabetes_platform.streaming.rebuild import DayLostError, missing, rebuild
from diabetes_platform.streaming.topic import Topic, opened
from diabetes_platform_tests.capture import Kafka
from diabetes_platform_tests.streaming.sink import message, own_topic, send, tombstone

TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def topic(kafka: Kafka) -> Iterator[Topic]:
    """A topic with four changes of yesterday and two of today."""
    with own_topic(kafka) as name, opened(name, kafka.bootstrap_servers) as made:
        noon = datetime(YESTERDAY.year, YESTERDAY.month, YESTERDAY.day, 12, tzinfo=UTC)
        old = [message(1, 10), message(2, 11), tombstone(2), message(3, 12)]
        send(kafka, name, old, written_ms=int(noon.timestamp() * 1000))
        send(kafka, name, [message(4, 13), message(1, 14)])
        yield made


def fill(lake: Lake, topic: Topic) -> None:
    """As the sensor's runs do."""
    for day, first, last in ((YESTERDAY, 0, 1), (YESTERDAY, 2, 3), (TODAY, 4, 5)):
        ranges = (Range(0, first, last),)
        bring(lake, topic, PATIENTS, Increment(topic.name, topic.topic_id(), day, ranges))


def forget(kafka: Kafka, topic: Topic, before: int) -> None:
    place = TopicPartition(topic.name, 0, before)
    kafka.admin.delete_records([place])[place].result(30)


def delete(lake: Lake, predicate: str) -> None:
    lake.table(STREAM_PATIENTS).open().delete(predicate)


def rows(lake: Lake, day: date) -> int:
    return count_rows(lake, day.isoformat())


@pytest.mark.integration
def test_a_day_comes_from_kafka_while_it_is_kept(topic: Topic, lake: Lake) -> None:
    found = rebuild(lake, topic, PATIENTS, YESTERDAY, TODAY)
    assert (found.source, found.rows, found.added, found.ranges) == (
        "kafka", 4, 4, (Range(0, 0, 3),),
    )  # fmt: skip
    assert rows(lake, TODAY) == 0
    assert committed_offsets(lake, topic.name, topic.topic_id(), [0]) == {}
    assert rebuild(lake, topic, PATIENTS, TODAY, TODAY).added == 2


@pytest.mark.integration
def test_a_day_that_is_whole_stays_as_it_is(topic: Topic, lake: Lake) -> None:
    fill(lake, topic)
    found = rebuild(lake, topic, PATIENTS, YESTERDAY, TODAY)
    assert (found.source, found.rows, found.added) == ("kafka", 4, 0)


@pytest.mark.integration
def test_rows_that_were_taken_away_come_back(topic: Topic, lake: Lake) -> None:
    fill(lake, topic)
    delete(lake, "id = 2")
    assert rebuild(lake, topic, PATIENTS, YESTERDAY, TODAY).added == 2
    assert (rows(lake, YESTERDAY), rows(lake, TODAY)) == (4, 2)


@pytest.mark.integration
def test_without_kafka_they_come_from_the_tables_history(
    kafka: Kafka, topic: Topic, lake: Lake
) -> None:
    fill(lake, topic)
    delete(lake, "id = 2")
    delete(lake, f"day = '{YESTERDAY}'")
    forget(kafka, topic, 3)
    found = rebuild(lake, topic, PATIENTS, YESTERDAY, TODAY)
    assert (found.source, found.rows) == ("history", 4)
    assert rebuild(lake, topic, PATIENTS, YESTERDAY, TODAY).added == 0
    assert rows(lake, TODAY) == 2


@pytest.mark.integration
def test_a_day_that_both_have_lost_is_told(kafka: Kafka, topic: Topic, lake: Lake) -> None:
    forget(kafka, topic, 3)
    with pytest.raises(DayLostError, match=f"{YESTERDAY}: Kafka .* no increment of this day; 1 r"):
        rebuild(lake, topic, PATIENTS, YESTERDAY, TODAY)


@pytest.mark.integration
def test_files_that_vacuum_took_away_are_told(kafka: Kafka, topic: Topic, lake: Lake) -> None:
    fill(lake, topic)
    delete(lake, f"day = '{YESTERDAY}'")
    lake.table(STREAM_PATIENTS).open().vacuum(
        retention_hours=0, dry_run=False, enforce_retention_duration=False
    )
    forget(kafka, topic, 4)
    with pytest.raises(DayLostError, match="removed by VACUUM; 0 rows are there"):
        rebuild(lake, topic, PATIENTS, YESTERDAY, TODAY)


@pytest.mark.integration
def test_a_day_without_messages_is_whole(topic: Topic, lake: Lake) -> None:
    assert rebuild(lake, topic, PATIENTS, YESTERDAY - timedelta(days=5), TODAY).rows == 0


@pytest.mark.parametrize(
    ("history", "found", "unreadable", "said"),
    [
        (DayHistory(5, (), whole=True), 5, None, None),
        pytest.param(DayHistory(5, (), whole=True), 6, None, None, id="a rebuild found more"),
        (DayHistory(5, (3,), whole=True), 4, None, "its increments added 5 rows"),
        (DayHistory(5, (3,), whole=True), 4, 3, "version 3 were removed by VACUUM"),
        (DayHistory(0, (), whole=True), 0, None, "no increment of this day"),
        (DayHistory(5, (), whole=False), 5, None, "does not reach back"),
    ],
)
def test_whether_history_shows_that_a_day_is_whole(
    history: DayHistory, found: int, unreadable: int | None, said: str | None
) -> None:
    problem = missing(history, found, unreadable)
    assert problem is None if said is None else said in (problem or "")
