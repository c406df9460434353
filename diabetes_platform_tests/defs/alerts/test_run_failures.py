"""A failed run becomes one alert, in the log file and on the webhook."""

import json
import traceback
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.defs.alerts import channels
from diabetes_platform.defs.alerts.alerts import AlertError
from diabetes_platform.defs.alerts.run_failures import failure_alerts
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.defs.alerts.webhooks import SECRET, Webhook, running_webhook
from diabetes_platform_tests.defs.conftest import Platform


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with running_webhook() as running:
        yield running


@dg.asset
def patients() -> None:
    """An asset that a check refuses."""


@dg.asset_check(asset=patients, blocking=True)
def both_outcomes() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False)


@dg.asset(deps=[patients])
def served() -> None:
    """An asset that the failed check keeps back."""


def tell(
    settings: PlatformSettings, instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult
) -> None:
    """Run the sensor as its tick does."""
    context = dg.build_run_status_sensor_context(
        sensor_name="failure_alerts",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_failure_event(),
        resources={"settings": settings},
    ).for_run_failure()
    failure_alerts(context)


def settings_of(home: Path, webhook: Webhook) -> PlatformSettings:
    return PlatformSettings.model_validate({"home": home, "alert_webhook_url": webhook.url})


def test_a_failed_blocking_check_is_told_by_name(tmp_path: Path, webhook: Webhook) -> None:
    settings = settings_of(tmp_path, webhook)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [patients, both_outcomes, served], instance=instance, raise_on_error=False
        )
        tell(settings, instance, result)
        tell(settings, instance, result)
    (posted,) = webhook.received
    (line,) = settings.alerts.read_text().splitlines()
    assert posted["failed_checks"] == ["patients: both_outcomes"]
    assert json.loads(line)["delivered"] is True


def test_a_webhook_that_is_down_fails_the_tick_without_its_url(
    tmp_path: Path, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "_PAUSES", (0.0,))
    webhook.statuses.append(503)
    settings = settings_of(tmp_path, webhook)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([patients, both_outcomes], instance=instance, raise_on_error=False)
        with pytest.raises(AlertError, match="webhook: status 503") as raised:
            tell(settings, instance, result)
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    assert json.loads(settings.alerts.read_text())["delivered"] is False


@pytest.mark.integration
def test_a_batch_that_failed_is_told_to_the_log_and_the_webhook(
    platform: Platform, tmp_path: Path, webhook: Webhook
) -> None:
    settings = settings_of(platform.settings.home, webhook)
    result = platform.run(tmp_path / "absent.csv")

    tell(settings, platform.instance, result)

    (line,) = settings.alerts.read_text().splitlines()
    (posted,) = webhook.received
    assert json.loads(line)["failed_steps"] == ["raw__patients"]
    assert "absent.csv: given a path that does not exist" in posted["text"]
    assert posted["run_url"].endswith(f"/runs/{result.run_id}")
