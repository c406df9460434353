"""Ticks of the sensor on a real broker, with runs on a real instance."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)

from diabetes_platform.contract.tables import STREAM_PATIENTS
from diabetes_platform.contract.topics import CDC_TOPIC
from diabetes_platform.defs.stream import sensors
from diabetes_platform.defs.stream.assets import PATIENTS_ASSET
from diabetes_platform.defs.stream.sensors import TopicSnapshot, build_increments, lake_issues
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.incremental_table import IncrementalTable, OffsetRange
from diabetes_platform.lake.labels import waiting_labels
from diabetes_platform.orchestration.describe import STREAM, topic_key
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.offsets import FIRST_DAY
from diabetes_platform.streaming.topic import GROUP
from diabetes_platform_tests.capture import Kafka
from diabetes_platform_tests.defs.stream.harness import Harness
from diabetes_platform_tests.streaming.sink import (
    delete_before,
    key_of,
    message,
    own_topic,
    recreate,
    tombstone,
)

TODAY = datetime.now(UTC).date()
SNAPSHOT = TopicSnapshot(
    topic="topic", topic_id="id", positions={0: 13}, ends={0: 14}, observed_ms=9
)
CURSOR_OF_AN_OLDER_VERSION = json.dumps(
    {
        "topic": "topic",
        "topic_id": "id",
        "positions": {"0": 13},
        "committed": {"0": 4},
        "ends": {"0": 14},
        "held": {},
        "pending": [["topic@id:0:5-12", "0:5-12"]],
        "failures": 2,
        "not_before_ms": 7,
        "observed_ms": 9,
    }
)


@pytest.fixture
def harness(kafka: Kafka, tmp_path: Path) -> Iterator[Harness]:
    """A sensor that has never ticked, for a topic with four partitions."""
    settings = PlatformSettings.model_validate(
        {"home": tmp_path, "kafka_servers": kafka.bootstrap_servers}
    )
    with own_topic(kafka, 4) as name, dg.DagsterInstance.ephemeral() as instance:
        yield Harness(settings, instance, kafka, replace(PATIENTS_ASSET, topic=name))


def failure_message(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    (event,) = result.get_step_failure_events()
    error = event.step_failure_data.error
    assert error is not None
    return error.cause.message if error.cause else error.message


@pytest.mark.parametrize("cursor", [SNAPSHOT.model_dump_json(), CURSOR_OF_AN_OLDER_VERSION])
def test_reads_its_own_cursor_and_that_of_an_older_version(cursor: str) -> None:
    assert TopicSnapshot.parse(cursor, "topic") == SNAPSHOT


@pytest.mark.parametrize("cursor", [None, "", "no json", "[]", "{}", "null", '{"topic": "topic"}'])
def test_ignores_a_cursor_that_it_cannot_read(cursor: str | None) -> None:
    assert TopicSnapshot.parse(cursor, "topic") is None


def test_ignores_the_cursor_of_another_topic() -> None:
    assert TopicSnapshot.parse(SNAPSHOT.model_dump_json(), "other") is None


def test_counts_unread_offsets_of_every_partition() -> None:
    positions, ends = {0: 5, 1: 3, 2: 0}, {0: 9, 1: 3, 2: 2}
    snapshot = TopicSnapshot(topic="topic", topic_id="id", positions=positions, ends=ends)
    assert snapshot.unread == [OffsetRange(0, 5, 8), OffsetRange(2, 0, 1)]
    assert snapshot.lag == 6


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        pytest.param(1, [], id="just read"),
        pytest.param(14, [], id="between two ticks of a slow sensor"),
        pytest.param(16, ["sensor stream_increments"], id="a stopped or failing sensor"),
    ],
)
def test_a_sensor_that_no_longer_reads_its_topic_is_an_issue(
    minutes: int, expected: list[str]
) -> None:
    now_ms = SNAPSHOT.observed_ms + minutes * 60_000
    assert [i.subject for i in SNAPSHOT.issues("stream_increments", now_ms)] == expected


def test_a_paused_partition_opens_its_incident_at_once() -> None:
    snapshot = SNAPSHOT.model_copy(update={"paused": {"topic-0": "is blocked"}})
    (issue,) = snapshot.issues("stream_increments", SNAPSHOT.observed_ms)
    assert (issue.subject, issue.problem, issue.urgent) == (
        "lake: topic-0",
        "is blocked",
        True,
    )


def test_the_issues_of_all_sensors_are_read_from_their_cursors(tmp_path: Path) -> None:
    paused = {"topic-0": "is blocked"}
    snapshot = TopicSnapshot(
        topic=PATIENTS_ASSET.topic, topic_id="t", paused=paused, observed_ms=SNAPSHOT.observed_ms
    )
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("location"), "repository")
    state = InstigatorState(
        RemoteInstigatorOrigin(repository, PATIENTS_ASSET.sensor),
        InstigatorType.SENSOR,
        InstigatorStatus.RUNNING,
        SensorInstigatorData(cursor=snapshot.model_dump_json()),
    )
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert lake_issues(instance, SNAPSHOT.observed_ms) == []
        instance.add_instigator_state(state)
        (issue,) = lake_issues(instance, SNAPSHOT.observed_ms)
    assert (issue.subject, issue.problem) == ("lake: topic-0", "is blocked")
    with dg.DagsterInstance.ephemeral() as instance:
        assert lake_issues(instance, 0) == []


def test_the_cursor_keeps_deleted_topics_and_paused_partitions() -> None:
    deleted = TopicSnapshot(topic="topic", topic_id="old", positions={1: 3}, ends={1: 5})
    snapshot = SNAPSHOT.model_copy(update={"deleted": (deleted,), "paused": {"topic-1": "waits"}})
    assert TopicSnapshot.parse(snapshot.model_dump_json(), "topic") == snapshot
    assert snapshot.lag == SNAPSHOT.lag + 2


def test_skips_if_there_is_no_stream(tmp_path: Path) -> None:
    settings = PlatformSettings(home=tmp_path)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance=instance, resources={"settings": settings}) as context,
    ):
        result = build_increments(PATIENTS_ASSET)(context)
    assert isinstance(result, dg.SkipReason)
    assert (result.skip_message or "").startswith("PLATFORM_KAFKA_SERVERS is not set")


@pytest.mark.integration
def test_every_change_of_the_topic_arrives_once(harness: Harness) -> None:
    harness.put(*(message(n, 100 + n) for n in range(1, 41)), tombstone(3))
    harness.ingest_all()
    assert len(harness.change_ids()) == 41
    harness.put(*(message(n, 100 + n) for n in range(1, 21)), message(50, 200))
    harness.ingest_all()
    assert len(harness.change_ids()) == 42
    assert harness.tick() == []
    assert harness.skip_reason == "nothing new"
    assert all(result.success for result in harness.results)


@pytest.mark.integration
def test_a_request_has_the_unread_offsets_and_no_message(kafka: Kafka, harness: Harness) -> None:
    harness.put(message(1, 10), message(2, 11), partition=2)
    harness.put(message(3, 12), partition=0)
    request = harness.request()
    config = request.run_config["ops"]["stream__patients"]["config"]
    assert request.partition_key == TODAY.isoformat()
    assert config["ranges"] == ["0:0-0", "2:0-1"]
    assert set(config) == {"topic_id", "ranges"}
    harness.launch(request)
    metadata = harness.metadata()
    assert (metadata["rows_added"], metadata["dagster/partition_row_count"]) == (3, 3)
    assert metadata["offsets"] == ["0:0-0", "2:0-1"]
    groups = kafka.admin.list_consumer_groups().result().valid
    assert GROUP not in {group.group_id for group in groups}


@pytest.mark.integration
def test_a_run_also_ingests_messages_that_arrive_after_its_request(harness: Harness) -> None:
    harness.put(message(1, 10), partition=0)
    request = harness.request()
    harness.put(message(2, 11), partition=0)
    harness.launch(request)
    assert harness.change_ids() == ["1-10", "2-11"]


@pytest.mark.integration
def test_every_day_is_a_partition_and_the_earliest_comes_first(harness: Harness) -> None:
    harness.put(message(1, 10), partition=0, days_ago=2)
    harness.put(message(1, 11), message(2, 12), partition=0)
    harness.put(message(4, 13), partition=1)
    two_days_ago = (TODAY - timedelta(days=2)).isoformat()
    assert harness.request().partition_key == two_days_ago
    harness.ingest_all()
    materialized = harness.instance.get_materialized_partitions(STREAM)
    assert materialized == {two_days_ago, TODAY.isoformat()}
    rows = harness.lake.stream(STREAM_PATIENTS, ("id",), {"day": two_days_ago}).read_all()
    assert rows["id"].to_pylist() == [1]


@pytest.mark.integration
@pytest.mark.parametrize(
    "status",
    [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING],
)
def test_waits_for_a_run_that_is_unfinished(harness: Harness, status: dg.DagsterRunStatus) -> None:
    harness.put(message(1, 10))
    run = harness.add_run(status)
    assert harness.tick() == []
    assert harness.skip_reason == f"run {run.run_id} is {status.value.lower()}"
    assert dg.DagsterRunStatus.QUEUED in sensors.UNFINISHED


@pytest.mark.integration
def test_nothing_is_lost_or_repeated_if_the_daemon_loses_its_cursor(harness: Harness) -> None:
    harness.put(*(message(n, 100 + n) for n in range(1, 11)))
    request = harness.request()
    harness.cursor = None
    # The daemon was killed after the launch and before it saved the cursor.
    harness.launch(request)
    harness.put(*(message(n, 200 + n) for n in range(1, 11)))
    harness.ingest_all()
    # The same run a second time finds nothing to do.
    assert harness.launch(request).success
    assert len(harness.change_ids()) == 20


@pytest.mark.integration
def test_repeats_a_failed_run_at_once_and_after_two_failures_once_a_minute(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.put(message(1, 10))
    first = harness.request()
    harness.add_run(dg.DagsterRunStatus.FAILURE)
    second = harness.request()
    assert second.run_config == first.run_config
    harness.job.execute_in_process(
        instance=harness.instance,
        partition_key=second.partition_key,
        run_config={"ops": {"stream__patients": {"config": {"ranges": ["no range"]}}}},
        tags={"dagster/sensor_name": PATIENTS_ASSET.sensor},
        raise_on_error=False,
    )
    assert harness.tick() == []
    assert harness.skip_reason.startswith("the last two runs failed: the next one starts in ")
    monkeypatch.setattr(sensors, "RETRY_SECONDS", 0.0)
    assert harness.launch(harness.request()).success
    assert harness.change_ids() == ["1-10"]


@pytest.mark.integration
def test_deleted_offsets_are_one_failed_run_and_wait_for_an_operator(
    kafka: Kafka, harness: Harness
) -> None:
    harness.put(message(1, 10), partition=0)
    harness.ingest_all()
    harness.put(*(message(1, 20 + n) for n in range(3)), partition=0)
    delete_before(kafka, harness.topic, 0, 3)
    request = harness.request()
    failed = harness.launch(request)
    error = failure_message(failed)
    assert f"{harness.topic}-0: Kafka has deleted offsets of 1 to 2; available: 3 to 3" in error
    assert "accept_loss: true" in error
    assert harness.tick() == [], "it is not repeated"
    assert harness.skip_reason == (
        f"{harness.topic}-0 is blocked at its next offset 1: see the failed run {failed.run_id}"
    )
    harness.put(message(2, 30), partition=1)
    harness.ingest_all()
    assert harness.change_ids() == ["1-10", "2-30"], "the other partitions continue"
    assert harness.launch(request, accept_loss=True).success
    assert harness.metadata()["lost_offsets"] == 2
    harness.ingest_all()
    assert harness.change_ids() == ["1-10", "1-22", "2-30"]


@pytest.mark.integration
@pytest.mark.parametrize("partitions", [4, 1])
def test_unread_offsets_of_a_deleted_topic_wait_for_an_operator(
    kafka: Kafka, harness: Harness, partitions: int
) -> None:
    harness.put(message(1, 10), partition=3)
    harness.ingest_all()
    harness.put(message(2, 11), partition=3)
    harness.tick()
    recreate(kafka, harness.topic, partitions)
    harness.put(message(3, 12), partition=0)
    request = harness.request()
    failed = harness.launch(request)
    assert "was deleted and created again before its offsets 1 to 1" in failure_message(failed)
    harness.ingest_all()
    assert harness.change_ids() == ["1-10", "3-12"], "the new topic is ingested meanwhile"
    deleted = f"{harness.topic}-3 of the deleted topic "
    assert harness.skip_reason.startswith(deleted)
    assert f"is blocked at its next offset 1: see the failed run {failed.run_id}" in (
        harness.skip_reason
    )
    (issue,) = harness.issues()
    assert issue.subject.startswith(f"lake: {deleted}")
    assert harness.launch(request, accept_loss=True).success
    harness.ingest_all()
    assert (harness.skip_reason, harness.issues()) == ("nothing new", [])
    assert harness.change_ids() == ["1-10", "3-12"]


@pytest.mark.integration
def test_a_paused_partition_of_a_deleted_topic_does_not_stop_the_new_topic(
    kafka: Kafka, harness: Harness
) -> None:
    harness.put((key_of(7), b"{"), message(7, 10), partition=0)
    harness.put(message(1, 11), partition=1)
    harness.ingest_all()
    assert harness.change_ids() == ["1-11"]
    (issue,) = harness.issues()
    assert issue.subject == f"lake: {harness.topic}-0"
    assert issue.problem.startswith("is blocked at its next offset 0: see the failed run ")
    recreate(kafka, harness.topic, 4)
    for partition in range(4):
        harness.put(message(10 + partition, 20), partition=partition)
    harness.ingest_all()
    assert harness.change_ids() == ["1-11", "10-20", "11-20", "12-20", "13-20"]
    assert [issue.subject.startswith("lake: ") for issue in harness.issues()] == [True]
    recreate(kafka, harness.topic, 4)
    harness.put(message(30, 30), partition=0)
    harness.ingest_all()
    assert "30-30" in harness.change_ids(), "nor a topic that was deleted twice"


@pytest.mark.integration
def test_added_partitions_and_a_recreated_topic_are_read_from_their_beginning(
    kafka: Kafka, harness: Harness
) -> None:
    harness.put(message(1, 10))
    harness.ingest_all()
    recreate(kafka, harness.topic, 6)
    harness.put(message(1, 10), message(2, 11), partition=5)
    harness.ingest_all()
    assert harness.change_ids() == ["1-10", "2-11"]
    snapshot = TopicSnapshot.parse(harness.cursor, harness.topic)
    assert snapshot is not None
    assert set(snapshot.positions) == set(range(6))


@pytest.mark.integration
def test_a_partition_whose_messages_the_broker_has_lost_is_an_issue_and_the_others_go_on(
    harness: Harness,
) -> None:
    harness.put(message(1, 10), partition=0)
    topic_id = harness.request().run_config["ops"]["stream__patients"]["config"]["topic_id"]
    table = IncrementalTable.open_or_create(harness.lake, STREAM_PATIENTS)
    table.commit_offsets(harness.topic, topic_id, {0: 8})
    harness.put(message(2, 11), partition=1)
    harness.ingest_all()
    assert harness.change_ids() == ["2-11"]
    (issue,) = harness.issues()
    assert issue.subject == f"lake: {harness.topic}-0"
    assert issue.problem == (
        "ends at 1, but the next offset to ingest is 9: the broker has lost messages"
    )
    assert harness.skip_reason == f"{harness.topic}-0 {issue.problem}"


@pytest.mark.integration
def test_an_unreadable_message_is_reported_without_its_values(harness: Harness) -> None:
    harness.put((key_of(7), b'{"id": 7, "glucose": 4711'), partition=3)
    error = failure_message(harness.launch(harness.request()))
    assert f"{harness.topic}-3-0: record:not_json" in error
    assert "4711" not in error


@pytest.mark.integration
def test_a_run_that_an_older_version_requested_can_be_launched_again(harness: Harness) -> None:
    harness.put(message(1, 10), message(2, 11), partition=0)
    request = harness.request()
    topic_id = request.run_config["ops"]["stream__patients"]["config"]["topic_id"]
    config = {"topic_id": topic_id, "ranges": ["0:0-0"], "accept_loss": False}
    run_config = {"ops": {"stream__patients": {"config": config}}}
    older = dg.RunRequest(partition_key=request.partition_key, run_config=run_config)
    assert harness.launch(older).success
    assert harness.change_ids() == ["1-10", "2-11"]


@pytest.mark.integration
def test_observes_the_topics_once_a_minute(harness: Harness) -> None:
    harness.stream_asset = replace(harness.stream_asset, observed_topics=(harness.topic,))
    harness.put(*(message(n, n) for n in range(1, 6)))
    harness.tick()
    harness.tick()
    assert len(harness.observations) == 2
    first, second = harness.observations
    assert first.asset_key == second.asset_key == topic_key(harness.topic)
    assert (first.metadata["lag"].value, first.metadata["offsets_kept"].value) == (5, 5)
    assert CDC_TOPIC in PATIENTS_ASSET.observed_topics


@pytest.mark.integration
def test_materializing_a_partition_rebuilds_the_day(harness: Harness) -> None:
    harness.put(message(1, 10), message(2, 11), days_ago=1)
    harness.ingest_all()
    harness.lake.table(STREAM_PATIENTS).open().delete("id = 1")
    assert harness.change_ids() == ["2-11"]
    assert harness.rebuild((TODAY - timedelta(days=1)).isoformat()).success
    assert harness.change_ids() == ["1-10", "2-11"]
    assert harness.metadata()["rebuilt_from"] == "kafka"


@pytest.mark.integration
def test_the_cost_of_a_tick_does_not_depend_on_the_backlog(harness: Harness) -> None:
    for days_ago in (9, 5, 2):
        harness.put(*(message(n, n) for n in range(1, 3001)), days_ago=days_ago)
    # The process time of the tick: how long the broker takes depends on the machine.
    started = time.process_time()
    request = harness.request()
    assert time.process_time() - started < 1
    assert request.partition_key == (TODAY - timedelta(days=9)).isoformat()


@pytest.mark.integration
def test_nothing_is_lost_or_repeated_if_clocks_jump(harness: Harness) -> None:
    # The broker rejects timestamps more than an hour ahead.
    for number, days_ago in enumerate((3, 400, 0, 30, 1, 2)):
        records = (message(10 * number + n, 100 * number + n) for n in range(1, 6))
        harness.put(*records, days_ago=days_ago)

    harness.ingest_all()

    expected = sorted(f"{10 * n + m}-{100 * n + m}" for n in range(6) for m in range(1, 6))
    assert harness.change_ids() == expected
    days = [str(row["day"]) for row in harness.rows("day")]
    assert max(days) == TODAY.isoformat()
    assert min(days) >= FIRST_DAY.isoformat(), "earlier messages belong to the first day"


@pytest.mark.integration
def test_ingests_deletions_without_any_image(harness: Harness) -> None:
    harness.put(tombstone(1), tombstone(2), partition=0)

    harness.ingest_all()

    assert len(harness.change_ids()) == 2
    metadata = harness.metadata()
    assert (metadata["messages"], metadata["rows_added"], metadata["deletions"]) == (2, 2, 2)
    assert waiting_labels(Lake(harness.settings.lake)) == 0
