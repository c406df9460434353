"""An alert reaches the log file and the webhook, once; what fails is told without the secret."""

import json
import logging
import multiprocessing
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diabetes_platform.defs.alerts import channels
from diabetes_platform.defs.alerts.alerts import Alert, AlertError, send_alert
from diabetes_platform.local.ports import free_port
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.defs.alerts.webhooks import SECRET, Webhook, running_webhook

ALERT = Alert(
    job="batch",
    run_id="1",
    run_url="http://127.0.0.1:3000/runs/1",
    message="1 blocking asset check failed",
    failed_steps=("staging_expectations",),
    failed_checks=("staging/patients: both_outcomes_present",),
    time="2026-01-01T00:00:00+00:00",
)


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    monkeypatch.setattr(channels, "_PAUSES", (0.0, 0.0, 0.0))
    with running_webhook() as running:
        yield running


def settings_of(home: Path, webhook_url: str | None) -> PlatformSettings:
    return PlatformSettings.model_validate({"home": home, "alert_webhook_url": webhook_url})


def lines(settings: PlatformSettings) -> list[dict[str, Any]]:
    return [json.loads(line) for line in settings.alerts.read_text().splitlines()]


@pytest.mark.parametrize(
    ("checks", "steps", "stopped"),
    [
        (("staging/patients: both_outcomes_present",), ("staging",), "both_outcomes_present"),
        ((), ("staging",), "failed at staging:"),
        ((), (), "failed at the run:"),
    ],
)
def test_the_text_names_what_stopped_the_run(
    checks: tuple[str, ...], steps: tuple[str, ...], stopped: str
) -> None:
    text = replace(ALERT, failed_checks=checks, failed_steps=steps).text
    assert stopped in text
    assert text.endswith("1 blocking asset check failed (http://127.0.0.1:3000/runs/1)")


def test_an_alert_goes_to_the_log_file_and_the_webhook(tmp_path: Path, webhook: Webhook) -> None:
    settings = settings_of(tmp_path, webhook.url)
    assert send_alert(ALERT, settings)
    (line,) = lines(settings)
    (posted,) = webhook.received
    assert line["delivered"] is True
    assert posted["text"] == ALERT.text
    assert posted["failed_checks"] == line["failed_checks"] == list(ALERT.failed_checks)


def test_without_a_webhook_nothing_was_to_be_delivered(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, None)
    assert send_alert(ALERT, settings)
    assert [line["delivered"] for line in lines(settings)] == [None]


def test_a_run_is_told_once(tmp_path: Path, webhook: Webhook) -> None:
    settings = settings_of(tmp_path, webhook.url)
    other = replace(ALERT, run_id="10")
    assert [send_alert(alert, settings) for alert in (ALERT, other, ALERT, other)] == [
        True,
        True,
        False,
        False,
    ]
    assert [line["run_id"] for line in lines(settings)] == ["1", "10"]
    assert [posted["run_id"] for posted in webhook.received] == ["1", "10"]


def test_two_processes_tell_a_run_once(tmp_path: Path, webhook: Webhook) -> None:
    settings = settings_of(tmp_path, webhook.url)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        told = pool.starmap(send_alert, [(ALERT, settings)] * 4, chunksize=1)
    assert sorted(told) == [False, False, False, True]
    assert len(webhook.received) == len(lines(settings)) == 1


@pytest.mark.parametrize("statuses", [[503], [429, 500]])
def test_a_webhook_that_recovers_gets_the_alert(
    tmp_path: Path, webhook: Webhook, statuses: list[int]
) -> None:
    webhook.statuses += statuses
    settings = settings_of(tmp_path, webhook.url)
    assert send_alert(ALERT, settings)
    assert [line["delivered"] for line in lines(settings)] == [True]


@pytest.mark.parametrize(
    ("statuses", "problem"),
    [([404] * 3, "status 404"), ([302] * 3, "status 302"), (None, "ConnectError")],
)
def test_a_refused_alert_stays_in_the_file_and_the_secret_is_not_told(
    tmp_path: Path,
    webhook: Webhook,
    caplog: pytest.LogCaptureFixture,
    statuses: list[int] | None,
    problem: str,
) -> None:
    webhook.statuses += statuses or []
    nobody = f"http://127.0.0.1:{free_port()}/hook/{SECRET}"
    settings = settings_of(tmp_path, nobody if statuses is None else webhook.url)
    with caplog.at_level(logging.DEBUG), pytest.raises(AlertError) as raised:
        send_alert(ALERT, settings)
    assert str(raised.value) == f"alert of run 1 failed: webhook: {problem}"
    assert [line["delivered"] for line in lines(settings)] == [False]
    told = "".join(traceback.format_exception(raised.value))
    assert SECRET not in told + caplog.text + settings.alerts.read_text()


def test_a_log_file_that_cannot_be_written_keeps_nothing_from_the_webhook(
    tmp_path: Path, webhook: Webhook
) -> None:
    settings = settings_of(tmp_path, webhook.url)
    settings.alerts.mkdir(parents=True)
    with pytest.raises(AlertError, match=r"failed: log file: Is a directory$"):
        send_alert(ALERT, settings)
    assert len(webhook.received) == 1


def test_the_error_names_each_channel_that_failed(tmp_path: Path, webhook: Webhook) -> None:
    webhook.statuses += [500] * 3
    settings = settings_of(tmp_path, webhook.url)
    settings.alerts.mkdir(parents=True)
    with pytest.raises(AlertError, match="log file: Is a directory; webhook: status 500"):
        send_alert(ALERT, settings)


def test_a_line_that_was_cut_off_stops_no_later_alert(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, None)
    settings.alerts.parent.mkdir(parents=True)
    settings.alerts.write_text('{"job": "ba\n')
    assert send_alert(ALERT, settings)
    assert not send_alert(ALERT, settings)
