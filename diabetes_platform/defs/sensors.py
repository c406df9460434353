"""The sensor that turns a failed run into an alert."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import dagster as dg

from diabetes_platform.defs.alerts import Alert, first_line, post_alert, write_alert
from diabetes_platform.settings import PlatformSettings


def build_failure_alerts(load: Callable[[], PlatformSettings]) -> dg.SensorDefinition:
    """Return the sensor; its settings are read when a run has failed."""

    @dg.run_failure_sensor(
        name="failure_alerts",
        description="Writes an alert for each failed run: log file, and webhook where configured.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=15,
        monitor_all_code_locations=True,
    )
    def failure_alerts(context: dg.RunFailureSensorContext) -> None:
        settings = load()
        alert = describe_failure(context, settings.dagster)
        context.log.error(alert.text)
        write_alert(settings.alerts, alert)
        if settings.alert_webhook_url is not None:
            post_alert(str(settings.alert_webhook_url), alert)

    return failure_alerts


def describe_failure(context: dg.RunFailureSensorContext, dagster_url: str) -> Alert:
    """Say which steps and which blocking checks stopped the run."""
    run = context.dagster_run
    steps = context.get_step_failure_events()
    errors = (event.step_failure_data.error for event in steps)
    messages = [root_message(error) for error in errors if error is not None]
    return Alert(
        job=run.job_name,
        run_id=run.run_id,
        run_url=f"{dagster_url}/runs/{run.run_id}",
        message=first_line([*messages, context.failure_event.message or ""]),
        failed_steps=tuple(event.step_key for event in steps if event.step_key is not None),
        failed_checks=_failed_checks(context.instance, run.run_id),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


class ErrorInfo(Protocol):
    """What Dagster keeps of an exception."""

    @property
    def message(self) -> str:
        """The exception's type and text."""

    @property
    def cause(self) -> "ErrorInfo | None":
        """The exception it was raised from."""


def root_message(error: ErrorInfo) -> str:
    """Return what went wrong first: a retried step wraps it in "Exceeded max_retries"."""
    while error.cause is not None:
        error = error.cause
    return error.message


def _failed_checks(instance: dg.DagsterInstance, run_id: str) -> tuple[str, ...]:
    evaluations = [
        entry.dagster_event.asset_check_evaluation_data
        for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        if entry.dagster_event is not None
    ]
    return tuple(
        f"{each.asset_key.to_user_string()}: {each.check_name}"
        for each in evaluations
        if not each.passed and each.severity is dg.AssetCheckSeverity.ERROR
    )
