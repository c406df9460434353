"""Dead letters of a real broker become one alert an incident, in the log file and the webhook."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from diabetes_platform.contract.events import REJECTED_TOPIC
from diabetes_platform.defs.alerts import rejections
from diabetes_platform.defs.alerts.rejections import (
    alert_of,
    read_cursor,
    rejection_alerts,
    write_cursor,
)
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.rejections import QUIET_MS, Incident
from diabetes_platform_tests.capture import Kafka, eventually
from diabetes_platform_tests.defs.alerts.webhooks import Webhook, running_webhook
from diabetes_platform_tests.streaming.test_dead_letters import answers, reject

UI = "http://127.0.0.1:3000"
AGE = Incident("age:missing", 3, "topic-0-7", 1, 2)
KEY = Incident("key:missing", 1, "topic-0-8", 1, 2)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with running_webhook() as running:
        yield running


def tick(settings: PlatformSettings, cursor: str | None) -> tuple[str | None, str]:
    """Run the sensor as its tick does; return its cursor and what it says."""
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"settings": settings}
        ) as context,
    ):
        said = rejection_alerts(context)
        assert isinstance(said, dg.SkipReason)
        return context.cursor, said.skip_message or ""


def test_an_alert_names_reasons_and_numbers() -> None:
    alert = alert_of("raised", [AGE, KEY], UI)
    assert alert is not None
    assert alert.text == (
        "the stream rejects records: age:missing (3 records), key:missing (1 records); "
        f"they are kept in {REJECTED_TOPIC} ({UI}/automation)"
    )
    resolved = alert_of("resolved", [AGE], UI)
    assert resolved is not None
    assert resolved.text.startswith("resolved: the stream rejects no more records for age:missing")
    assert resolved.incident != alert.incident


def test_of_no_incident_there_is_no_alert() -> None:
    assert alert_of("raised", [], UI) is None


def test_the_cursor_keeps_offsets_and_incidents() -> None:
    assert read_cursor(write_cursor({0: 7, 1: 9}, [AGE, KEY])) == ({0: 7, 1: 9}, [AGE, KEY])
    assert read_cursor(None) == ({}, [])


def test_without_a_stream_it_says_so(tmp_path: Path) -> None:
    _, said = tick(PlatformSettings(home=tmp_path), None)
    assert said.startswith("PLATFORM_KAFKA_SERVERS: given nothing")


@pytest.mark.integration
def test_an_incident_is_told_once_and_its_end_too(
    kafka: Kafka, tmp_path: Path, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PlatformSettings.model_validate(
        {
            "home": tmp_path,
            "alert_webhook_url": webhook.url,
            "kafka_servers": kafka.bootstrap_servers,
        }
    )

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in settings.alerts.read_text().splitlines()]

    eventually(lambda: answers(kafka.bootstrap_servers))
    cursor, _ = tick(settings, None)
    webhook.received.clear()
    settings.alerts.unlink(missing_ok=True)
    reject(kafka, ("before:missing",), ("before:missing",))
    told, _ = tick(settings, cursor)
    # As if the daemon had been killed between the alert and its cursor.
    told, _ = tick(settings, cursor)
    reject(kafka, ("before:missing",))
    told, _ = tick(settings, told)
    assert [one["reasons"] for one in lines()] == [{"before:missing": 2}]
    assert [one["state"] for one in webhook.received] == ["raised"]
    later = time.time_ns() + (QUIET_MS + 60_000) * 1_000_000
    monkeypatch.setattr(rejections.time, "time_ns", lambda: later)
    tick(settings, told)
    assert [one["state"] for one in lines()] == ["raised", "resolved"]
    assert webhook.received[-1]["reasons"]["before:missing"] == 3
