"""Alerts for failed runs: the sensor, and the cause of the failure from Dagster's event log."""

from typing import Any

import dagster as dg

from diabetes_platform.clients.alert_channels import Alert
from diabetes_platform.defs.alerts.delivery import send_alert
from diabetes_platform.defs.alerts.incident_alerts import POLL_SECONDS, timestamp
from diabetes_platform.orchestration.check_results import FEW_ROWS_REJECTED
from diabetes_platform.settings import PlatformSettings

_EVENTS = dg.DagsterEventType
_NO_REASON = "no reason given"


@dg.run_failure_sensor(
    description="Sends an alert for each failed run to the alert log and the alert channels.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=POLL_SECONDS,
    monitor_all_code_locations=True,
)
def failure_alerts(
    context: dg.RunFailureSensorContext, settings: dg.ResourceParam[PlatformSettings]
) -> None:
    """Send an alert for the failed run."""
    alert = describe_failure(context.instance, context.dagster_run.run_id, settings.dagster)
    context.log.error(alert.text)
    # If this raises, Dagster shows the tick as failed and does not retry it for this run.
    send_alert(alert, settings)


def describe_failure(instance: dg.DagsterInstance, run_id: str, dagster_url: str) -> Alert:
    """Return the alert of a failed run; LookupError if the instance has no such run."""
    run = instance.get_run_by_id(run_id)
    if run is None:
        raise LookupError(f"run {run_id} is not in the event log")
    steps = _events(instance, run_id, _EVENTS.STEP_FAILURE)
    causes = [root_cause(event.step_failure_data.error) for event in steps]
    failures = [
        first_line(event.message or "") for event in _events(instance, run_id, _EVENTS.RUN_FAILURE)
    ]
    cause = next(iter(causes + failures), _NO_REASON)
    evaluations = _failed_evaluations(instance, run_id)
    return failure_alert(
        run.job_name,
        run_id,
        dagster_url,
        message="; ".join([*_rejected_rows(evaluations), cause]),
        failed_steps=tuple(event.step_key for event in steps if event.step_key is not None),
        failed_checks=_blocking_checks(evaluations),
    )


def failure_alert(
    job: str,
    run_id: str,
    dagster_url: str,
    *,
    message: str,
    failed_steps: tuple[str, ...],
    failed_checks: tuple[str, ...],
) -> Alert:
    """Return the alert of a failed run; `failed_checks` are the blocking checks that stopped it."""
    url = f"{dagster_url}/runs/{run_id}"
    failed = ", ".join(failed_checks or failed_steps) or "the run"
    facts = {
        "job": job,
        "run_id": run_id,
        "run_url": url,
        "message": message,
        "failed_steps": failed_steps,
        "failed_checks": failed_checks,
        "time": timestamp(),
    }
    return Alert(f"{job} failed at {failed}: {message} ({url})", facts, identity="run_id")


def root_cause(error: Any) -> str:  # noqa: ANN401 - Dagster does not export its SerializableErrorInfo
    """Return the first line of the innermost exception: a retried step wraps the original."""
    while error is not None and error.cause is not None:
        error = error.cause
    return first_line("" if error is None else error.message)


def first_line(text: str) -> str:
    """Return the first line that is not blank, or "no reason given"."""
    lines = (line.strip() for line in text.splitlines())
    return next(filter(None, lines), _NO_REASON)


def _failed_evaluations(instance: dg.DagsterInstance, run_id: str) -> list[dg.AssetCheckEvaluation]:
    events = _events(instance, run_id, _EVENTS.ASSET_CHECK_EVALUATION)
    evaluations = [event.asset_check_evaluation_data for event in events]
    return [evaluation for evaluation in evaluations if not evaluation.passed]


def _rejected_rows(evaluations: list[dg.AssetCheckEvaluation]) -> list[str]:
    """Return the rejected rows by reason if they are too many: they cause most other failures."""
    rejected = (e for e in evaluations if e.check_name == FEW_ROWS_REJECTED)
    return [evaluation.description for evaluation in rejected if evaluation.description]


def _blocking_checks(evaluations: list[dg.AssetCheckEvaluation]) -> tuple[str, ...]:
    return tuple(
        f"{evaluation.asset_key.to_user_string()}: {evaluation.check_name}"
        for evaluation in evaluations
        if evaluation.severity is dg.AssetCheckSeverity.ERROR
    )


def _events(
    instance: dg.DagsterInstance, run_id: str, event_type: dg.DagsterEventType
) -> list[dg.DagsterEvent]:
    entries = instance.all_logs(run_id, of_type=event_type)
    return [entry.dagster_event for entry in entries if entry.dagster_event is not None]
