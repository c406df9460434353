"""Delivery of alerts: once to each channel, and again to one that does not accept it."""

import json
import multiprocessing
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diabetes_platform.clients import alert_channels
from diabetes_platform.clients.alert_channels import Alert
from diabetes_platform.defs.alerts.delivery import (
    MAX_DELIVERIES,
    AlertError,
    send_alert,
    send_alerts,
)
from diabetes_platform.defs.alerts.run_failures import failure_alert
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.clients.mail_servers import running_mail_server
from diabetes_platform_tests.clients.webhooks import SECRET, Webhook, running_webhook
from diabetes_platform_tests.root_log import recorded_root_log


def alert_of(run_id: str) -> Alert:
    """The alert of a failed run."""
    return failure_alert(
        "batch",
        run_id,
        "http://127.0.0.1:3000",
        message="1 blocking asset check failed",
        failed_steps=("staging_expectations",),
        failed_checks=("staging/patients: both_outcomes_present",),
    )


ALERT = alert_of("1")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_channels, "_RETRY_WAIT_SECONDS", 0.0)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with running_webhook() as running:
        yield running


def settings_with(home: Path, *urls: str) -> PlatformSettings:
    """Settings with these alert URLs."""
    return PlatformSettings.model_validate({"home": home, "alert_urls": " ".join(urls) or None})


def log_lines(settings: PlatformSettings) -> list[dict[str, Any]]:
    return [json.loads(line) for line in settings.alerts.read_text().splitlines()]


def test_an_alert_goes_to_the_log_and_the_channels(tmp_path: Path, webhook: Webhook) -> None:
    settings = settings_with(tmp_path, webhook.apprise_url)
    assert send_alert(ALERT, settings)
    (line,) = log_lines(settings)
    (posted,) = webhook.received
    assert (line["delivered"], line["mailed"], line["failed_channels"]) == (True, None, [])
    assert posted["text"] == ALERT.text
    assert posted["failed_checks"] == line["failed_checks"] == list(ALERT.facts["failed_checks"])


def test_without_channels_an_alert_goes_to_the_log(tmp_path: Path) -> None:
    settings = settings_with(tmp_path)
    assert send_alert(ALERT, settings)
    assert [(line["delivered"], line["mailed"]) for line in log_lines(settings)] == [(None, None)]


def test_the_log_tells_mail_from_other_channels(tmp_path: Path, webhook: Webhook) -> None:
    webhook.statuses += [500] * 3
    with running_mail_server() as mail_server:
        mail = f"mailto://{HOST}:{mail_server.port}?to=a@b.example&from=a@b.example"
        settings = settings_with(tmp_path, webhook.apprise_url, mail)
        with pytest.raises(AlertError, match=r"URL 1 \(json://\): status 500$"):
            send_alert(ALERT, settings)
        assert len(mail_server.received) == 1
    (line,) = log_lines(settings)
    assert (line["delivered"], line["mailed"]) == (False, True)
    assert line["failed_channels"] == ["PLATFORM_ALERT_URLS: URL 1 (json://)"]


def test_an_alert_is_sent_once(tmp_path: Path, webhook: Webhook) -> None:
    settings = settings_with(tmp_path, webhook.apprise_url)
    other = alert_of("10")
    sent = [send_alert(alert, settings) for alert in (ALERT, other, ALERT, other)]
    assert sent == [True, True, False, False]
    assert [line["run_id"] for line in log_lines(settings)] == ["1", "10"]
    assert [posted["run_id"] for posted in webhook.received] == ["1", "10"]


def test_two_processes_send_an_alert_once(tmp_path: Path, webhook: Webhook) -> None:
    settings = settings_with(tmp_path, webhook.apprise_url)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        sent = pool.starmap(send_alert, [(ALERT, settings)] * 4, chunksize=1)
    assert sorted(sent) == [False, False, False, True]
    assert len(webhook.received) == len(log_lines(settings)) == 1


def test_a_repeated_alert_goes_only_to_the_channel_that_did_not_accept_it(
    tmp_path: Path, webhook: Webhook
) -> None:
    with running_webhook() as recovering:
        recovering.statuses += [500] * 3
        settings = settings_with(tmp_path, recovering.apprise_url, webhook.apprise_url)
        with pytest.raises(AlertError, match="URL 1"):
            send_alert(ALERT, settings)
        assert send_alert(ALERT, settings)
        assert not send_alert(ALERT, settings)
        assert len(recovering.received) == 4
    assert len(webhook.received) == 1
    assert [line["delivered"] for line in log_lines(settings)] == [False, True]


def test_gives_up_a_channel_that_stays_down(tmp_path: Path, webhook: Webhook) -> None:
    unused = f"json://{HOST}:{free_port()}/{SECRET}"
    settings = settings_with(tmp_path, unused, webhook.apprise_url)
    for _ in range(MAX_DELIVERIES):
        with pytest.raises(AlertError, match="URL 1"):
            send_alert(ALERT, settings)
    assert not send_alert(ALERT, settings)
    assert len(webhook.received) == 1


@pytest.mark.parametrize(
    ("statuses", "problem"),
    [([404] * 3, "status 404"), (None, "the connection failed")],
)
def test_a_failed_alert_stays_in_the_log_and_shows_no_secret(
    tmp_path: Path,
    webhook: Webhook,
    statuses: list[int] | None,
    problem: str,
) -> None:
    webhook.statuses += statuses or []
    unused = f"json://{HOST}:{free_port()}/hook/{SECRET}"
    settings = settings_with(tmp_path, unused if statuses is None else webhook.apprise_url)
    with recorded_root_log() as log, pytest.raises(AlertError) as raised:
        send_alert(ALERT, settings)
    channel = "PLATFORM_ALERT_URLS: URL 1 (json://)"
    assert str(raised.value) == f"alert of run 1 failed: {channel}: {problem}"
    assert [line["delivered"] for line in log_lines(settings)] == [False]
    trace = "".join(traceback.format_exception(raised.value))
    assert SECRET not in trace + log.getvalue() + settings.alerts.read_text()


def test_an_unwritable_log_does_not_affect_the_channels(tmp_path: Path, webhook: Webhook) -> None:
    settings = settings_with(tmp_path, webhook.apprise_url)
    settings.alerts.mkdir(parents=True)
    with pytest.raises(AlertError, match=r"failed: log file: Is a directory$"):
        send_alert(ALERT, settings)
    assert len(webhook.received) == 1


def test_the_error_names_the_log_and_each_failed_channel(tmp_path: Path, webhook: Webhook) -> None:
    webhook.statuses += [500] * 3
    settings = settings_with(tmp_path, webhook.apprise_url)
    settings.alerts.mkdir(parents=True)
    with pytest.raises(AlertError, match=r"log file: Is a directory; .*\): status 500"):
        send_alert(ALERT, settings)


def test_a_failed_alert_does_not_affect_later_ones(tmp_path: Path, webhook: Webhook) -> None:
    webhook.statuses += [500] * 3
    settings = settings_with(tmp_path, webhook.apprise_url)
    with pytest.raises(AlertError, match=r"^alert of run 1 failed: [^;]*: status 500$"):
        send_alerts([ALERT, alert_of("2")], settings)
    assert [line["delivered"] for line in log_lines(settings)] == [False, True]


def test_a_truncated_line_in_the_log_stops_no_alert(tmp_path: Path) -> None:
    settings = settings_with(tmp_path)
    settings.alerts.parent.mkdir(parents=True)
    settings.alerts.write_text('{"job": "ba\n')
    assert send_alert(ALERT, settings)
    assert not send_alert(ALERT, settings)
