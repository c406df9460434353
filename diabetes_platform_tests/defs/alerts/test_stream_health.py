"""The sensor of the stream's health: one alert per outage, one when it is over."""

import json
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from threading import Thread

import dagster as dg
import psycopg
import pytest

from diabetes_platform.clients import alert_channels
from diabetes_platform.clients.alert_channels import AlertUrlError
from diabetes_platform.defs.alerts import stream as module
from diabetes_platform.defs.alerts.delivery import AlertError
from diabetes_platform.defs.alerts.stream import (
    capture_issues,
    poll_health,
    poll_slot,
    stream_health,
)
from diabetes_platform.local.ports import free_port
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.incidents import (
    OUTAGE_POLICY,
    HealthIssue,
    Incident,
    IncidentCursor,
)
from diabetes_platform.streaming.recorded_issues import record_issue
from diabetes_platform_tests.clients.webhooks import running_webhook
from diabetes_platform_tests.provisioned import ProvisionedServer, drop_slot

MINUTE = OUTAGE_POLICY.opens_after_ms


def tick(settings: PlatformSettings, cursor: IncidentCursor) -> IncidentCursor:
    """Evaluate the sensor; return its cursor."""
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(
            instance=instance, cursor=cursor.to_json(), resources={"settings": settings}
        ) as context,
    ):
        stream_health(context)
        return IncidentCursor.from_json(context.cursor)


def a_minute_earlier(cursor: IncidentCursor) -> IncidentCursor:
    """The cursor, if its poll had been a minute earlier."""
    return IncidentCursor(
        tuple(
            replace(
                incident, since_ms=incident.since_ms - MINUTE, last_ms=incident.last_ms - MINUTE
            )
            for incident in cursor.incidents
        )
    )


def alerts(settings: PlatformSettings) -> list[tuple[str, str]]:
    """State and subject of each alert in the log."""
    if not settings.alerts.exists():
        return []
    lines = map(json.loads, settings.alerts.read_text().splitlines())
    return [(line["state"], line["subject"]) for line in lines]


@pytest.fixture
def settings(tmp_path: Path) -> PlatformSettings:
    unused = f"127.0.0.1:{free_port()}"
    return PlatformSettings.model_validate(
        {"home": tmp_path, "kafka_servers": unused, "flink_url": f"http://{unused}"}
    )


def test_alerts_once_per_service_that_is_down_and_once_when_it_is_back(
    settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tick(settings, IncidentCursor())
    assert alerts(settings) == []
    second = tick(settings, a_minute_earlier(first))
    tick(settings, second)
    assert alerts(settings) == [("raised", "Flink"), ("raised", "Kafka")]
    line = json.loads(settings.alerts.read_text().splitlines()[1])
    assert line["url"] == f"{settings.dagster}/automation"
    assert line["trouble"].startswith("does not answer")

    monkeypatch.setattr(module, "poll_health", lambda _: [])
    assert tick(settings, a_minute_earlier(second)) == IncidentCursor()
    assert alerts(settings)[2:] == [("resolved", "Flink"), ("resolved", "Kafka")]


def test_a_supervisor_that_does_not_answer_is_an_issue(
    settings: PlatformSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diabetes_platform.streaming.health._SECONDS", 0.5)
    path = tmp_path / "supervisor.sock"
    changes = {"supervisor_socket": path, "flink_url": None, "kafka_servers": None}
    supervised = settings.model_copy(update=changes)

    class Live(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")

        def log_message(self, *_: object) -> None:
            """Log nothing: the default expects an address of TCP."""

    def problem() -> str:
        (issue,) = poll_health(supervised)
        assert issue.subject == "supervisor"
        return issue.problem

    with UnixStreamServer(str(path), Live) as supervisor:
        # A stopped process listens, too.
        assert "does not answer" in problem()
        thread = Thread(target=supervisor.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            wait_until(lambda: poll_health(supervised) == [], timeout=10)
        finally:
            supervisor.shutdown()
            thread.join()
    # A killed supervisor leaves its socket; a start without one removes it.
    for _ in range(2):
        assert "run `make up`" in problem()
        path.unlink(missing_ok=True)


def test_alerts_at_once_on_an_issue_that_another_process_recorded(
    settings: PlatformSettings,
) -> None:
    now_ms = time.time_ns() // 1_000_000
    record_issue(settings.recorded_issues, "checkpoint s3://x/chk-9", "cannot be restored", now_ms)
    cursor = tick(settings, IncidentCursor())
    assert alerts(settings) == [("raised", "checkpoint s3://x/chk-9")]
    tick(settings, cursor)
    assert len(alerts(settings)) == 1


def test_the_next_tick_repeats_an_alert_that_could_not_be_logged(
    settings: PlatformSettings,
) -> None:
    since_ms = time.time_ns() // 1_000_000 - 2 * MINUTE
    incident = Incident("Kafka", "does not answer", since_ms, since_ms + 90_000)
    cursor = IncidentCursor((incident,))
    settings.alerts.mkdir(parents=True)
    with pytest.raises(AlertError, match=r"alert of incident raised: Kafka .* failed: log file"):
        tick(settings, cursor)
    settings.alerts.rmdir()
    tick(settings, cursor)
    assert alerts(settings) == [("raised", "Kafka")]


def test_the_next_tick_repeats_an_alert_that_a_channel_did_not_accept(
    settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_channels, "_RETRY_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(module, "poll_health", lambda _: [HealthIssue("Kafka", "is down")])
    since_ms = time.time_ns() // 1_000_000 - 2 * MINUTE
    cursor = IncidentCursor((Incident("Kafka", "is down", since_ms, since_ms),))
    with running_webhook() as webhook:
        webhook.statuses += [500] * 3
        urls = {**settings.model_dump(), "alert_urls": webhook.apprise_url}
        alerting = PlatformSettings.model_validate(urls)
        with pytest.raises(AlertError, match="status 500"):
            tick(alerting, cursor)
        cursor = tick(alerting, cursor)
        tick(alerting, cursor)
        assert len(webhook.received) == 4
    assert [incident.opened for incident in cursor.incidents] == [True]


def test_an_invalid_alert_url_fails_the_first_tick(settings: PlatformSettings) -> None:
    invalid = PlatformSettings.model_validate(
        {**settings.model_dump(), "alert_urls": "slak://T0SECRET"}
    )
    with pytest.raises(AlertUrlError, match=r"PLATFORM_ALERT_URLS: URL 1 \(slak://\)"):
        tick(invalid, IncidentCursor())


def test_is_skipped_without_a_stream(tmp_path: Path) -> None:
    settings = PlatformSettings(home=tmp_path)
    result = stream_health(dg.build_sensor_context(resources={"settings": settings}))
    assert isinstance(result, dg.SkipReason)
    assert "PLATFORM_KAFKA_SERVERS" in (result.skip_message or "")


@pytest.mark.integration
def test_a_dropped_slot_is_reported_at_once(provisioned: ProvisionedServer) -> None:
    url = provisioned.url("pipeline")
    assert poll_slot(url, None, 0)[1] == []
    with psycopg.connect(provisioned.server.url("diabetes"), autocommit=True) as connection:
        drop_slot(connection)
    progress, (issue,) = poll_slot(url, (7, 1), 0)
    assert progress is None
    assert (issue.urgent, "is missing" in issue.problem) == (True, True)
    provisioned.set_up()
    assert poll_slot(url, None, 0)[1] == []


@pytest.mark.integration
def test_a_slot_that_does_not_advance_while_the_log_grows_is_reported(
    provisioned: ProvisionedServer,
) -> None:
    url = provisioned.url("pipeline")
    progress, issues = poll_slot(url, None, now_ms=0)
    assert progress is not None
    assert issues == []
    with psycopg.connect(provisioned.url("debezium"), autocommit=True) as debezium:
        debezium.execute("SELECT pg_logical_emit_message(false, 'diabetes_cdc', '', true)")
    assert poll_slot(url, progress, now_ms=119_000) == (progress, [])
    _, (issue,) = poll_slot(url, progress, now_ms=120_000)
    assert "has not advanced for 120 s" in issue.problem


def test_services_that_do_not_answer_are_no_replaced_server() -> None:
    unused = f"127.0.0.1:{free_port()}"
    position = {"epoch": 1, "lsn": 7, "started": 1}
    issues = capture_issues(f"http://{unused}", f"postgresql://nobody@{unused}/none", position, 0)
    assert issues == (position, [])
    progress, (issue,) = poll_slot(f"postgresql://nobody@{unused}/none", (7, 1), 0)
    assert (progress, issue.subject) == ((7, 1), "PostgreSQL")
