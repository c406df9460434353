"""Alerts for rejected records, from dead letters of a real topic."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from diabetes_platform.contract.topics import REJECTED_TOPIC
from diabetes_platform.defs.alerts import stream as module
from diabetes_platform.defs.alerts.stream import rejection_alert, rejection_alerts
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.dead_letters import REJECTION_POLICY
from diabetes_platform.streaming.incidents import Incident
from diabetes_platform_tests.capture import Kafka
from diabetes_platform_tests.clients.webhooks import Webhook, running_webhook
from diabetes_platform_tests.streaming.test_dead_letters import can_poll, reject

UI = "http://127.0.0.1:3000"
AGE = Incident("age:missing", "topic-0-7", 1, 2, count=3)
KEY = Incident("key:missing", "topic-0-8", 1, 2)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with running_webhook() as running:
        yield running


def tick(settings: PlatformSettings, cursor: str | None) -> tuple[str | None, str]:
    """Evaluate the sensor; return its cursor and its skip reason."""
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"settings": settings}
        ) as context,
    ):
        result = rejection_alerts(context)
        assert isinstance(result, dg.SkipReason)
        return context.cursor, result.skip_message or ""


def test_an_alert_names_reasons_and_counts() -> None:
    (opened,) = rejection_alert("raised", (AGE, KEY), UI)
    (resolved,) = rejection_alert("resolved", (AGE,), UI)
    assert opened.text == (
        "the stream rejects records: age:missing (3 records), key:missing (1 records); "
        f"topic {REJECTED_TOPIC} has them ({UI}/automation)"
    )
    assert opened.facts["incident"] == "raised: age:missing at topic-0-7, key:missing at topic-0-8"
    assert (opened.severity, resolved.severity) == ("failure", "success")
    assert resolved.text.startswith("resolved: the stream no longer rejects records for age:miss")
    assert resolved.facts["incident"] == "resolved: age:missing at topic-0-7"


def test_without_changes_there_is_no_alert() -> None:
    assert rejection_alert("raised", (), UI) == []


def test_is_skipped_without_a_stream(tmp_path: Path) -> None:
    _, reason = tick(PlatformSettings(home=tmp_path), None)
    assert reason.startswith("PLATFORM_KAFKA_SERVERS")


@pytest.mark.integration
def test_alerts_once_when_rejections_start_and_once_when_they_stop(
    kafka: Kafka, tmp_path: Path, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PlatformSettings.model_validate(
        {
            "home": tmp_path,
            "alert_urls": webhook.apprise_url,
            "kafka_servers": kafka.bootstrap_servers,
        }
    )

    def log_lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in settings.alerts.read_text().splitlines()]

    wait_until(lambda: can_poll(kafka.bootstrap_servers), timeout=30)
    start, _ = tick(settings, None)
    webhook.received.clear()
    settings.alerts.unlink(missing_ok=True)
    reject(kafka, ("before:missing",), ("before:missing",))
    cursor, _ = tick(settings, start)
    # As if the daemon had been killed between the alert and its cursor.
    cursor, _ = tick(settings, start)
    reject(kafka, ("before:missing",))
    cursor, _ = tick(settings, cursor)
    assert [line["reasons"] for line in log_lines()] == [{"before:missing": 2}]
    assert [posted["state"] for posted in webhook.received] == ["raised"]
    later = time.time_ns() + (REJECTION_POLICY.resolves_after_ms + 60_000) * 1_000_000
    monkeypatch.setattr(module.time, "time_ns", lambda: later)
    tick(settings, cursor)
    assert [line["state"] for line in log_lines()] == ["raised", "resolved"]
    assert webhook.received[-1]["reasons"]["before:missing"] == 3
