"""The sensor of offset gaps: alert, emission of the affected patients, and the end of the gap."""

import json
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from confluent_kafka import KafkaError, KafkaException
from pydantic import SecretStr

from diabetes_platform.defs.alerts.stream import offset_gaps
from diabetes_platform.lake.delta import Lake
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming import offset_gaps as module
from diabetes_platform.streaming import tombstones
from diabetes_platform.streaming.offset_gaps import ANSWER_MS, GapState, GroupOffsets, GroupPoll
from diabetes_platform.warehouse.intake import emission_text
from diabetes_platform.warehouse.migrate import upgrade
from diabetes_platform_tests.lake.test_rejected_patients import append_rejections
from diabetes_platform_tests.warehouse.test_intake import (
    HOUR,
    MINUTE,
    answer,
    receive,
    store_as_before_migration_0006,
)

pytestmark = pytest.mark.integration


class Sensor:
    """The sensor between ticks; `committed` and `low` are those of the only partition."""

    def __init__(self, settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings, self.cursor = settings, ""
        self.committed, self.low, self.end, self.topic_id = 100, 0, 101, "t"
        self.broker_answers, self.summary = True, ""
        self.tombstones: list[int] = []
        monkeypatch.setattr(module, "poll_groups", lambda _: [self.poll()])
        monkeypatch.setattr(tombstones, "send_tombstones", self.send_tombstones)

    def send_tombstones(self, _: str, ids: list[int]) -> None:
        self.tombstones += ids

    def poll(self) -> GroupPoll:
        if not self.broker_answers:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        offsets = GroupOffsets(
            topic_id=self.topic_id, committed={0: self.committed}, ends={0: self.end}
        )
        return GroupPoll("predictor", "sink", offsets.model_copy(update={"lows": {0: self.low}}))

    def lose_messages(self) -> None:
        self.tick()
        self.low = self.committed = 101

    def tick(self) -> GapState:
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(
                instance=instance, cursor=self.cursor, resources={"settings": self.settings}
            ) as context,
        ):
            self.summary = offset_gaps(context).skip_message
            self.cursor = context.cursor or ""
        return GapState.model_validate(json.loads(self.cursor)["state"])

    def tick_until(self, step: str) -> GapState:
        for _ in range(10):
            state = self.tick()
            if step in self.summary:
                return state
        raise AssertionError(self.summary)

    def let_time_pass(self) -> None:
        """Let all times of the cursor be so far in the past that changes have arrived."""
        content = json.loads(self.cursor)
        for values in (*content["state"]["gaps"], content["state"]["emission"]):
            for name, value in values.items():
                if name.endswith("_ms") and value is not None:
                    values[name] = value - ANSWER_MS
        self.cursor = json.dumps(content)

    def alerts(self) -> list[tuple[str, str]]:
        if not self.settings.alerts.exists():
            return []
        lines = map(json.loads, self.settings.alerts.read_text().splitlines())
        return [(line["state"], line["subject"]) for line in lines]


@pytest.fixture
def sensor(
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Sensor:
    upgrade(database_url)
    settings = PlatformSettings.model_validate(
        {
            "home": tmp_path,
            "kafka_servers": "127.0.0.1:1",
            "warehouse_url": database_url,
            "repair_limit": getattr(request, "param", 10),
        }
    )
    return Sensor(settings, monkeypatch)


def versions(url: str) -> dict[int, str]:
    """The transaction that wrote each patient's row."""
    with psycopg.connect(url) as connection:
        return dict(connection.execute("SELECT id, xmin::text FROM public.diabetes_new").fetchall())


def emitted(url: str, initial: dict[int, str]) -> list[int]:
    """The patients whose rows were written since."""
    return sorted(
        patient for patient, version in versions(url).items() if initial[patient] != version
    )


def test_alerts_at_once_and_emits_all_patients_after_the_group_has_continued(
    sensor: Sensor, database_url: str
) -> None:
    # One has an answer, one waits, and one has a change of this minute.
    patients = receive(database_url, HOUR, HOUR, 0 * HOUR)
    answer(database_url, patients[0], HOUR - MINUTE)
    initial = versions(database_url)
    assert sensor.tick().gaps == ()
    sensor.committed = 40
    sensor.tick()
    assert sensor.alerts() == [], "a lag is no gap"
    sensor.low = 60
    sensor.tick()
    assert sensor.alerts() == [("raised", "group predictor in sink")]
    assert emitted(database_url, initial) == [], "the group has not passed the gap"
    sensor.committed = 100
    sensor.tick_until("waits for the answers of 3 patients")
    assert emitted(database_url, initial) == patients
    sensor.let_time_pass()
    initial = versions(database_url)
    assert sensor.tick().gaps
    assert "run `diabetes repair --all`" in sensor.summary, "two have no answer"
    for patient in patients[1:]:
        answer(database_url, patient, 0 * MINUTE)
    assert sensor.tick().gaps == ()
    assert emitted(database_url, initial) == [], "they are emitted once"


def test_an_old_row_that_no_update_may_touch_does_not_keep_the_gap_open(
    sensor: Sensor, database_url: str
) -> None:
    first, old, last = receive(database_url, HOUR, HOUR, HOUR)
    store_as_before_migration_0006(database_url, old, "received_at", "infinity")
    initial = versions(database_url)
    sensor.lose_messages()
    sensor.tick_until(emission_text(2, skipped=1))
    assert emitted(database_url, initial) == [first, last]
    for patient in (first, last):
        answer(database_url, patient, 0 * MINUTE)
    sensor.tick_until("waits for the answers of 2 patients")
    sensor.let_time_pass()
    assert sensor.tick().gaps == ()


@pytest.mark.parametrize("sensor", [2], indirect=True)
def test_emits_many_patients_in_batches(sensor: Sensor, database_url: str) -> None:
    patients = receive(database_url, *[HOUR] * 5)
    initial = versions(database_url)
    sensor.lose_messages()
    for batch in (patients[:2], patients[:4], patients):
        sensor.tick()
        assert emitted(database_url, initial) == batch
        sensor.end = 1000
        sensor.tick()
        assert "waits until Flink and the predictor have caught up" in sensor.summary
        assert emitted(database_url, initial) == batch
        sensor.end = 101


@pytest.mark.parametrize("sensor", [0], indirect=True)
def test_a_limit_of_zero_leaves_the_repair_to_an_operator(
    sensor: Sensor, database_url: str
) -> None:
    (patient,) = receive(database_url, HOUR)
    initial = versions(database_url)
    sensor.lose_messages()
    sensor.tick()
    sensor.let_time_pass()
    assert sensor.tick_until("run `diabetes repair --all`").gaps
    assert emitted(database_url, initial) == []
    answer(database_url, patient, MINUTE)
    assert sensor.tick().gaps == ()


def test_a_topic_that_was_created_again_is_repaired_although_all_had_been_read(
    sensor: Sensor, database_url: str
) -> None:
    patients = receive(database_url, 0 * HOUR)
    initial = versions(database_url)
    sensor.tick()
    sensor.topic_id = "new"
    assert sensor.tick().gaps
    assert emitted(database_url, initial) == patients
    sensor.tick()
    answer(database_url, patients[0], 0 * MINUTE)
    assert sensor.tick().gaps, "changes of the last minute may still be on their way"
    sensor.let_time_pass()
    assert sensor.tick().gaps == ()


def test_lost_deletions_are_sent_again_and_keep_the_gap_open(
    sensor: Sensor, database_url: str
) -> None:
    answer(database_url, 4711, MINUTE)
    sensor.lose_messages()
    sensor.tick()
    sensor.tick()
    assert sensor.tombstones == [4711], "sent once"
    sensor.let_time_pass()
    assert sensor.tick().gaps
    assert sensor.tombstones == [4711, 4711], "sent again after two minutes"
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM serving.predictions")
    assert sensor.tick().gaps == ()


@pytest.mark.parametrize("sensor", [1], indirect=True)
def test_many_deletions_are_left_to_an_operator(sensor: Sensor, database_url: str) -> None:
    for patient in (4711, 4712):
        answer(database_url, patient, MINUTE)
    sensor.lose_messages()
    sensor.tick()
    sensor.tick()
    sensor.let_time_pass()
    assert sensor.tick_until("run `diabetes repair --all`").gaps
    assert sensor.tombstones == []


def test_closes_a_gap_whose_other_patients_were_rejected(sensor: Sensor, database_url: str) -> None:
    (rejected,) = receive(database_url, HOUR)
    sensor.lose_messages()
    sensor.tick_until("waits for the answers of 1 patients")
    sensor.let_time_pass()
    assert sensor.tick().gaps
    now = datetime.now(UTC)
    append_rejections(Lake(sensor.settings.lake), (b'{"id":%d}' % rejected, now, now))
    assert sensor.tick().gaps == ()


def test_a_lake_that_cannot_be_read_delays_no_repair(sensor: Sensor, database_url: str) -> None:
    patients = receive(database_url, HOUR)
    initial = versions(database_url)
    lake = Lake(sensor.settings.lake)
    now = datetime.now(UTC)
    append_rejections(lake, (b'{"id":4711}', now, now))
    (entry,) = Path(sensor.settings.lake).rglob("00000000000000000000.json")
    entry.write_text('{"protocol":')
    sensor.lose_messages()
    (gap,) = sensor.tick().gaps
    assert emitted(database_url, initial) == patients
    assert sensor.alerts() == [("raised", gap.issue.subject)]


def test_alerts_without_postgresql(sensor: Sensor) -> None:
    sensor.settings = sensor.settings.model_copy(
        update={"warehouse_url": SecretStr("postgresql://nobody@127.0.0.1:1/diabetes")}
    )
    sensor.lose_messages()
    assert sensor.tick().gaps
    assert sensor.alerts() == [("raised", "group predictor in sink")]
    assert "The repair is tried again: " in sensor.summary


def test_skips_with_a_reason_while_the_broker_is_down(sensor: Sensor, database_url: str) -> None:
    receive(database_url, HOUR)
    sensor.lose_messages()
    state = sensor.tick()
    sensor.broker_answers = False
    assert sensor.tick() == state
    assert sensor.summary.startswith("Kafka does not answer: ")
