"""The sensor of the stream's health: a trouble that lasts is one alert, and its end one notice."""

import json
import time
from dataclasses import asdict
from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.defs.alerts import stream_health as module
from diabetes_platform.defs.alerts.stream_health import read_cursor, stream_health
from diabetes_platform.local.ports import free_port
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.troubles import LASTING_MS, Lasting, Trouble

KAFKA = Trouble("Kafka", "does not answer (KafkaException)")


def tick(settings: PlatformSettings, cursor: str | None) -> str:
    """Run the sensor as its tick does; return its cursor."""
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"settings": settings}
        ) as context,
    ):
        stream_health(context)
        assert context.cursor is not None
        return context.cursor


def a_minute_ago(cursor: str) -> str:
    """The same cursor, had that tick been a minute earlier."""
    known = [asdict(one) for one in read_cursor(cursor)]
    for one in known:
        one["since_ms"] -= LASTING_MS
        one["last_ms"] -= LASTING_MS
    return json.dumps(known)


def alerts(settings: PlatformSettings) -> list[dict[str, str]]:
    if not settings.alerts.exists():
        return []
    return [json.loads(line) for line in settings.alerts.read_text().splitlines()]


@pytest.fixture
def settings(tmp_path: Path) -> PlatformSettings:
    nowhere = f"127.0.0.1:{free_port()}"
    return PlatformSettings.model_validate(
        {"home": tmp_path, "kafka_servers": nowhere, "flink_url": f"http://{nowhere}"}
    )


def test_an_outage_is_one_alert_a_service_and_one_notice_at_its_end(
    settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tick(settings, None)
    assert alerts(settings) == []
    second = tick(settings, a_minute_ago(first))
    tick(settings, second)
    told = [(each["state"], each["subject"]) for each in alerts(settings)]
    assert told == [("raised", "Flink"), ("raised", "Kafka")]
    assert alerts(settings)[1]["url"] == f"{settings.dagster}/automation"

    monkeypatch.setattr(module, "look", lambda _: [])
    assert tick(settings, a_minute_ago(second)) == "[]"
    told = [(each["state"], each["subject"]) for each in alerts(settings)]
    assert told[2:] == [("resolved", "Flink"), ("resolved", "Kafka")]


def test_an_alert_that_could_not_be_written_is_tried_again(settings: PlatformSettings) -> None:
    long_ago = time.time_ns() // 1_000_000 - 2 * LASTING_MS
    cursor = json.dumps([asdict(Lasting(KAFKA.subject, KAFKA.text, long_ago, long_ago + 90_000))])
    settings.alerts.mkdir(parents=True)
    with pytest.raises(Exception, match=r"alert of incident raised: Kafka .* failed: log file"):
        tick(settings, cursor)
    settings.alerts.rmdir()
    tick(settings, cursor)
    assert [each["subject"] for each in alerts(settings)] == ["Kafka"]


def test_without_a_stream_nothing_is_asked(tmp_path: Path) -> None:
    settings = PlatformSettings(home=tmp_path)
    said = stream_health(dg.build_sensor_context(resources={"settings": settings}))
    assert isinstance(said, dg.SkipReason)
    assert "PLATFORM_KAFKA_SERVERS" in (said.skip_message or "")
