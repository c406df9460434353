"""The sensor of offset gaps: alert, emission of the affected patients, and the end of the gap."""

import json
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from diabetes_platform.defs.alerts.stream import offset_gaps
from diabetes_platform.lake.delta import Lake
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming import offset_gaps as module
from diabetes_platform.streaming.offset_gaps import SETTLED_MS, GapState, GroupOffsets, GroupPoll
from diabetes_platform.warehouse.intake import waiting_patients
from diabetes_platform.warehouse.migrate import upgrade
from diabetes_platform_tests.lake.test_rejected_patients import append_rejections
from diabetes_platform_tests.warehouse.test_intake import HOUR, MINUTE, answer, receive

pytestmark = pytest.mark.integration


class Sensor:
    """The sensor between ticks; `committed` and `low` are those of the only partition."""

    def __init__(self, settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings, self.cursor = settings, ""
        self.committed, self.low = 100, 0
        monkeypatch.setattr(module, "poll_groups", lambda _: [self.poll()])

    def poll(self) -> GroupPoll:
        offsets = GroupOffsets(topic_id="t", committed={0: self.committed}, ends={0: 100})
        return GroupPoll("predictor", "sink", offsets, {0: self.low})

    def tick(self) -> GapState:
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(
                instance=instance, cursor=self.cursor, resources={"settings": self.settings}
            ) as context,
        ):
            offset_gaps(context)
            self.cursor = context.cursor or ""
        return GapState.model_validate(json.loads(self.cursor)["state"])

    def an_age_earlier(self) -> None:
        """Let all times of the cursor be so far in the past that changes have arrived."""
        content = json.loads(self.cursor)
        for gap in content["state"]["gaps"]:
            if gap["emitted_ms"] is not None:
                gap["emitted_ms"] -= SETTLED_MS
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


def emissions(url: str) -> int:
    """The number of intake rows that were written more than once."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM public.diabetes_new WHERE xmin::text <> "
            "(SELECT min(xmin::text::bigint)::text FROM public.diabetes_new)"
        ).fetchone()
    return row[0] if row else 0


def test_alerts_at_once_and_emits_the_patients_after_the_group_has_continued(
    sensor: Sensor, database_url: str
) -> None:
    first, second, *_ = receive(database_url, HOUR, HOUR, HOUR)
    answer(database_url, first, HOUR - MINUTE)
    assert sensor.tick().gaps == ()
    sensor.committed = 40
    sensor.tick()
    assert sensor.alerts() == [], "a lag is no gap"
    sensor.low = 60
    (gap,) = sensor.tick().gaps
    assert sensor.alerts() == [("raised", "group predictor: offsets 0:40-59 of sink")]
    assert emissions(database_url) == 0, "the group has not passed the gap"
    sensor.committed = 100
    (gap,) = sensor.tick().gaps
    assert (gap.ranges, gap.emitted) == (("0:40-59",), 2)
    sensor.tick()
    assert emissions(database_url) == 2, "they are emitted once"
    for patient in waiting_patients(database_url, MINUTE, 10, {}).ids:
        answer(database_url, patient, MINUTE, lsn=second)
    assert sensor.tick().gaps == ()


@pytest.mark.parametrize("sensor", [1], indirect=True)
def test_leaves_many_patients_to_an_operator(sensor: Sensor, database_url: str) -> None:
    patients = receive(database_url, HOUR, HOUR)
    sensor.tick()
    sensor.low = 101
    sensor.committed = 101
    (gap,) = sensor.tick().gaps
    assert (gap.emitted_ms, emissions(database_url)) == (None, 0)
    for patient in patients:
        answer(database_url, patient, MINUTE)
    assert sensor.tick().gaps == ()


def test_closes_a_gap_whose_other_patients_were_rejected(sensor: Sensor, database_url: str) -> None:
    receive(database_url, HOUR)
    sensor.tick()
    sensor.low = sensor.committed = 101
    assert len(sensor.tick().gaps) == 1
    assert len(sensor.tick().gaps) == 1
    sensor.an_age_earlier()
    assert sensor.tick().gaps == ()


@pytest.mark.parametrize("sensor", [1], indirect=True)
def test_rejected_patients_block_no_repair(sensor: Sensor, database_url: str) -> None:
    lost, *rejected = receive(database_url, HOUR, HOUR, HOUR)
    now = datetime.now(UTC)
    letters = [(b'{"id":%d}' % patient, now, now) for patient in rejected]
    append_rejections(Lake(sensor.settings.lake), *letters)
    sensor.tick()
    sensor.low = sensor.committed = 101
    (gap,) = sensor.tick().gaps
    assert (gap.emitted, emissions(database_url)) == (1, 1)
    answer(database_url, lost, MINUTE)
    assert sensor.tick().gaps == ()


def test_a_lake_that_cannot_be_read_delays_no_repair(sensor: Sensor, database_url: str) -> None:
    receive(database_url, HOUR)
    lake = Lake(sensor.settings.lake)
    now = datetime.now(UTC)
    append_rejections(lake, (b'{"id":4711}', now, now))
    (entry,) = Path(sensor.settings.lake).rglob("00000000000000000000.json")
    entry.write_text('{"protocol":')
    sensor.tick()
    sensor.low = sensor.committed = 101
    (gap,) = sensor.tick().gaps
    assert gap.emitted == 1
    assert sensor.alerts() == [("raised", gap.issue.subject)]
