"""Ticks of the sensor on a real broker, its runs on a real instance: rows equal to the topic's."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from confluent_kafka import TopicPartition

from diabetes_platform.contract.events import CDC_TOPIC
from diabetes_platform.contract.tables import STREAM_PATIENTS
from diabetes_platform.defs.stream.assets import REFUSED_TAG
from diabetes_platform.defs.stream.feeds import PATIENTS_FEED
from diabetes_platform.defs.stream.sensors import build_increments
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.labels import waiting_labels
from diabetes_platform.orchestration.describe import STREAM, topic_key
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.progress import CursorError, read_cursor
from diabetes_platform.streaming.ranges import FIRST_DAY
from diabetes_platform_tests.capture import Kafka
from diabetes_platform_tests.defs.stream.following import Following
from diabetes_platform_tests.streaming.sink import (
    key_of,
    message,
    own_topic,
    remake,
    tombstone,
)

TODAY = datetime.now(UTC).date()


@pytest.fixture
def following(kafka: Kafka, tmp_path: Path) -> Iterator[Following]:
    """A sensor that has never ticked; its sink topic is the test's own."""
    settings = PlatformSettings.model_validate(
        {"home": tmp_path, "kafka_servers": kafka.bootstrap_servers}
    )
    with own_topic(kafka, 4) as name, dg.DagsterInstance.ephemeral() as instance:
        yield Following(settings, instance, kafka, replace(PATIENTS_FEED, topic=name))


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    (event,) = result.get_step_failure_events()
    error = event.step_failure_data.error
    assert error is not None
    return error.cause.message if error.cause else error.message


def test_without_a_stream_it_says_so(tmp_path: Path) -> None:
    settings = PlatformSettings(home=tmp_path)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance=instance, resources={"settings": settings}) as context,
    ):
        said = build_increments(PATIENTS_FEED)(context)
    assert isinstance(said, dg.SkipReason)
    assert (said.skip_message or "").startswith("PLATFORM_KAFKA_SERVERS: given nothing")


@pytest.mark.integration
def test_what_is_in_the_topic_comes_into_the_lake_once(following: Following) -> None:
    following.put(*(message(n, 100 + n) for n in range(40)), tombstone(3))
    following.follow()
    assert len(following.changes()) == 41
    following.put(*(message(n, 100 + n) for n in range(20)), message(50, 200))
    following.follow()
    assert len(following.changes()) == 42
    assert following.tick() == []
    assert all(following.launched.values())


@pytest.mark.integration
def test_a_run_is_asked_for_by_offsets_alone(kafka: Kafka, following: Following) -> None:
    following.put(message(1, 10), message(2, 11), partition=2)
    following.put(message(3, 12), partition=0)
    (request,) = following.tick()
    config = request.run_config["ops"]["stream__patients"]["config"]
    assert request.run_key == f"{following.topic}@{config['topic_id']}:0:0-0,2:0-1"
    assert request.partition_key == TODAY.isoformat()
    assert config["ranges"] == ["0:0-0", "2:0-1"]
    assert set(config) == {"topic_id", "ranges"}
    following.launch(request)
    told = following.metadata()
    assert (told["rows_added"], told["dagster/partition_row_count"]) == (3, 3)
    assert told["offsets"] == ["0:0-0", "2:0-1"]
    groups = kafka.admin.list_consumer_groups().result().valid
    assert "stream-patients" not in {group.group_id for group in groups}


@pytest.mark.integration
def test_days_are_partitions_of_their_own(following: Following) -> None:
    following.put(message(1, 10), partition=0, days_ago=2)
    following.put(message(1, 11), message(2, 12), partition=0)
    following.put(message(4, 13), partition=1)
    following.follow()
    ago = (TODAY - timedelta(days=2)).isoformat()
    done = following.instance.get_materialized_partitions(STREAM)
    assert done == {ago, TODAY.isoformat()}
    rows = Lake(following.settings.lake).stream(STREAM_PATIENTS, ("id",), {"day": ago}).read_all()
    assert rows["id"].to_pylist() == [1]


@pytest.mark.integration
def test_a_killed_daemon_a_lost_cursor_and_a_failed_run_change_nothing(
    following: Following,
) -> None:
    following.put(*(message(n, 100 + n) for n in range(10)))
    before = following.cursor
    (lost,) = following.tick()
    # Killed between the launch and its cursor: the next tick asks for more, from the same offset.
    following.launch(lost)
    following.put(*(message(n, 200 + n) for n in range(10)))
    following.cursor = before
    following.follow()
    assert len(following.changes()) == 20
    following.cursor = None
    following.put(message(1, 300))
    (killed,) = following.tick()
    following.instance.add_run(
        dg.DagsterRun(
            job_name="stream",
            status=dg.DagsterRunStatus.FAILURE,
            tags={
                "dagster/run_key": str(killed.run_key),
                "dagster/sensor_name": PATIENTS_FEED.sensor,
            },
        )
    )
    (again,) = following.tick()
    assert again.run_key == f"{killed.run_key}#1"
    following.launch(again)
    assert following.tick() == []
    assert len(following.changes()) == 21


@pytest.mark.integration
def test_what_kafka_has_deleted_is_a_failed_run_until_a_person_goes_on(
    kafka: Kafka, following: Following
) -> None:
    following.put(message(1, 10), partition=0)
    following.follow()
    following.put(*(message(1, 20 + n) for n in range(3)), partition=0)
    place = TopicPartition(following.topic, 0, 3)
    kafka.admin.delete_records([place])[place].result(30)
    (lost,) = following.tick()[:1]
    result = following.launch(lost)
    said = failure_of(result)
    assert f"{following.topic}-0: given offsets 1 to 2, allowed 3 to 3: Kafka has deleted" in said
    assert "accept_loss: true" in said
    run = following.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags[REFUSED_TAG] == "0"
    following.put(message(2, 30), partition=1)
    waiting = following.tick()
    for request in waiting:
        following.launch(request)
    following.follow()
    assert following.changes() == ["1-10", "2-30"]
    accepted = dg.RunRequest("by hand", lost.run_config, partition_key=lost.partition_key)
    assert following.launch(accepted, accept_loss=True).success
    following.follow()
    assert following.changes() == ["1-10", "1-22", "2-30"]


@pytest.mark.integration
def test_a_partition_that_was_added_and_a_topic_made_anew_are_read_from_their_beginning(
    kafka: Kafka, following: Following
) -> None:
    following.put(message(1, 10))
    following.follow()
    remake(kafka, following.topic, 6)
    following.put(message(1, 10), message(2, 11), partition=5)
    following.follow()
    assert following.changes() == ["1-10", "2-11"]
    assert following.cursor is not None
    assert set(read_cursor(following.cursor, following.topic).positions) == set(range(6))


@pytest.mark.integration
def test_a_message_that_cannot_be_read_is_named_without_its_values(following: Following) -> None:
    following.put((key_of(7), b'{"id": 7, "glucose": 4711'), partition=3)
    (request,) = following.tick()
    said = failure_of(following.launch(request))
    assert f"{following.topic}-3-0: message: json_invalid" in said
    assert "4711" not in said


@pytest.mark.integration
def test_a_cursor_that_does_not_fit_fails_the_tick(following: Following) -> None:
    following.tick()
    assert following.cursor is not None
    following.cursor = following.cursor.replace(following.topic, CDC_TOPIC)
    with pytest.raises(CursorError, match=f"given one of topic {CDC_TOPIC}"):
        following.tick()


@pytest.mark.integration
def test_topics_are_observed_but_not_at_every_tick(following: Following) -> None:
    following.put(*(message(n, n) for n in range(5)))
    following.tick()
    following.tick()
    observed = {one.asset_key: one.metadata for one in following.observed}
    assert len(following.observed) == 2
    assert observed[topic_key(following.topic)]["lag"].value == 5
    assert observed[topic_key(following.topic)]["offsets_kept"].value == 5


@pytest.mark.integration
def test_a_day_is_rebuilt_by_materializing_its_partition(following: Following) -> None:
    following.put(message(1, 10), message(2, 11), days_ago=1)
    following.follow()
    table = Lake(following.settings.lake).table(STREAM_PATIENTS)
    table.open().delete("id = 1")
    assert following.changes() == ["2-11"]
    assert following.rebuild((TODAY - timedelta(days=1)).isoformat()).success
    assert following.changes() == ["1-10", "2-11"]
    assert following.metadata()["rebuilt_from"] == "kafka"


@pytest.mark.integration
def test_a_tick_takes_less_than_a_second_for_any_backlog(following: Following) -> None:
    for days_ago in (9, 5, 2):
        following.put(*(message(n, n) for n in range(3000)), days_ago=days_ago)
    # What the tick itself costs: how long the broker lets it wait is the machine's business.
    started = time.process_time()
    (request,) = following.tick()
    assert time.process_time() - started < 1
    assert request.partition_key == (TODAY - timedelta(days=9)).isoformat()


@pytest.mark.integration
def test_clocks_that_jump_lose_and_double_nothing(following: Following) -> None:
    # Of a clock that is ahead by more than an hour the broker takes nothing.
    for number, days_ago in enumerate((3, 400, 0, 30, 1, 2)):
        records = (message(10 * number + n, 100 * number + n) for n in range(5))
        following.put(*records, days_ago=days_ago)

    following.follow()

    expected = sorted(f"{10 * n + m}-{100 * n + m}" for n in range(6) for m in range(5))
    assert following.changes() == expected
    lake = Lake(following.settings.lake)
    days = lake.stream(STREAM_PATIENTS, ("day",), {}).read_all()["day"].to_pylist()
    assert max(days) == TODAY.isoformat()
    assert min(days) >= FIRST_DAY.isoformat(), "what is older is of the first day"


@pytest.mark.integration
def test_an_increment_of_deletions_alone_is_kept_too(following: Following) -> None:
    following.put(tombstone(1), tombstone(2), partition=0)

    following.follow()

    assert len(following.changes()) == 2
    told = following.metadata()
    assert (told["messages"], told["rows_added"], told["deletions"]) == (2, 2, 2)
    assert waiting_labels(Lake(following.settings.lake)) == 0
