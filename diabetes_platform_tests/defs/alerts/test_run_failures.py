"""Alerts for failed runs: the reason from the events of real runs, and the sensor."""

import json
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.clients import alert_channels
from diabetes_platform.defs.alerts.delivery import AlertError
from diabetes_platform.defs.alerts.run_failures import (
    describe_failure,
    failure_alert,
    failure_alerts,
    first_line,
    root_cause,
)
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.clients.webhooks import SECRET, Webhook, running_webhook
from diabetes_platform_tests.defs.alerts.test_delivery import settings_with
from diabetes_platform_tests.defs.conftest import Platform

UI = "http://127.0.0.1:3000"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    monkeypatch.setattr(alert_channels, "_RETRY_WAIT_SECONDS", 0.0)
    with running_webhook() as running:
        yield running


@dg.asset
def patients() -> None:
    """An asset with three checks."""


@dg.asset_check(asset=patients, blocking=True)
def both_outcomes() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False)


@dg.asset_check(asset=patients, blocking=True)
def plausible() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.asset_check(asset=patients)
def near_previous() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN)


@dg.asset(deps=[patients])
def serving() -> None:
    """An asset that the failed check holds back."""


CHECKED = [patients, both_outcomes, plausible, near_previous, serving]


def parse() -> None:
    raise ValueError("line 7: given 700\nallowed 10 to 100")


@dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
def unreadable() -> None:
    try:
        parse()
    except ValueError as error:
        raise RuntimeError("the batch is rejected") from error


@pytest.mark.parametrize(
    ("checks", "steps", "failed"),
    [
        (("staging/patients: both_outcomes_present",), ("staging",), "both_outcomes_present"),
        ((), ("staging",), "failed at staging:"),
        ((), (), "failed at the run:"),
    ],
)
def test_the_text_names_checks_or_steps_or_the_run(
    checks: tuple[str, ...], steps: tuple[str, ...], failed: str
) -> None:
    alert = failure_alert(
        "batch", "1", UI, message="no rows", failed_steps=steps, failed_checks=checks
    )
    assert failed in alert.text
    assert alert.text.endswith("no rows (http://127.0.0.1:3000/runs/1)")


def test_names_a_failed_blocking_check_and_no_warning(instance: dg.DagsterInstance) -> None:
    result = dg.materialize(CHECKED, instance=instance, raise_on_error=False)
    alert = describe_failure(instance, result.run_id, UI)
    assert not result.success
    assert alert.facts["failed_checks"] == ("patients: both_outcomes",)
    assert alert.facts["run_url"] == f"{UI}/runs/{result.run_id}"
    assert alert.text.startswith(f"{alert.facts['job']} failed at patients: both_outcomes: ")


def test_names_a_failed_step_with_its_root_cause(instance: dg.DagsterInstance) -> None:
    result = dg.materialize([unreadable], instance=instance, raise_on_error=False)
    alert = describe_failure(instance, result.run_id, UI)
    assert alert.facts["failed_checks"] == ()
    assert alert.facts["failed_steps"] == ("unreadable",)
    assert alert.facts["message"] == "ValueError: line 7: given 700"


def test_fails_for_an_unknown_run(instance: dg.DagsterInstance) -> None:
    with pytest.raises(LookupError, match="run 1 is not in the event log"):
        describe_failure(instance, "1", UI)


@dataclass(frozen=True)
class Error:
    message: str
    cause: "Error | None" = None


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (Error("first\nsecond"), "first"),
        (Error("outer", Error("inner")), "inner"),
        (Error(""), "no reason given"),
        (None, "no reason given"),
    ],
)
def test_the_root_cause_is_one_line(error: Error | None, cause: str) -> None:
    assert root_cause(error) == cause


@pytest.mark.parametrize(("text", "line"), [("\n one\ntwo", "one"), ("", "no reason given")])
def test_a_message_is_cut_to_its_first_line(text: str, line: str) -> None:
    assert first_line(text) == line


def tick(
    settings: PlatformSettings, instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult
) -> None:
    """Evaluate the sensor for a failed run."""
    context = dg.build_run_status_sensor_context(
        sensor_name="failure_alerts",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_failure_event(),
        resources={"settings": settings},
    ).for_run_failure()
    failure_alerts(context)


def test_the_sensor_sends_a_failed_run_once(
    tmp_path: Path, webhook: Webhook, instance: dg.DagsterInstance
) -> None:
    settings = settings_with(tmp_path, webhook.apprise_url)
    result = dg.materialize(CHECKED, instance=instance, raise_on_error=False)
    tick(settings, instance, result)
    tick(settings, instance, result)
    (posted,) = webhook.received
    (line,) = settings.alerts.read_text().splitlines()
    assert posted["failed_checks"] == ["patients: both_outcomes"]
    assert json.loads(line)["delivered"] is True


def test_a_webhook_that_is_down_fails_the_tick_without_its_url(
    tmp_path: Path, webhook: Webhook, instance: dg.DagsterInstance
) -> None:
    webhook.statuses += [503] * 3
    settings = settings_with(tmp_path, webhook.apprise_url)
    result = dg.materialize(CHECKED, instance=instance, raise_on_error=False)
    with pytest.raises(AlertError, match="status 503") as raised:
        tick(settings, instance, result)
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    assert json.loads(settings.alerts.read_text())["delivered"] is False


@pytest.mark.integration
def test_the_sensor_sends_a_failed_batch(
    platform: Platform, tmp_path: Path, webhook: Webhook
) -> None:
    settings = settings_with(platform.settings.home, webhook.apprise_url)
    result = platform.run(tmp_path / "absent.csv")

    tick(settings, platform.instance, result)

    (line,) = settings.alerts.read_text().splitlines()
    (posted,) = webhook.received
    assert json.loads(line)["failed_steps"] == ["raw__patients"]
    assert "absent.csv: the path does not exist" in posted["text"]
    assert posted["run_url"].endswith(f"/runs/{result.run_id}")
