"""Why a run failed, read from Dagster's event log: root cause, steps and blocking checks."""

from datetime import UTC, datetime
from typing import Protocol

import dagster as dg

from diabetes_platform.defs.alerts.alerts import Alert

_KINDS = dg.DagsterEventType
_NO_REASON = "it failed without saying why"


class ErrorInfo(Protocol):
    """What Dagster keeps of an exception."""

    @property
    def message(self) -> str:
        """The exception's type and text."""

    @property
    def cause(self) -> "ErrorInfo | None":
        """The exception it was raised from."""


def describe_failure(instance: dg.DagsterInstance, run_id: str, dagster_url: str) -> Alert:
    """Return the alert of a failed run; LookupError where the instance has no such run."""
    run = instance.get_run_by_id(run_id)
    if run is None:
        raise LookupError(f"run {run_id} is not in the event log")
    steps = _events(instance, run_id, _KINDS.STEP_FAILURE)
    causes = [root_cause(event.step_failure_data.error) for event in steps]
    endings = [first_line(e.message or "") for e in _events(instance, run_id, _KINDS.RUN_FAILURE)]
    return Alert(
        job=run.job_name,
        run_id=run_id,
        run_url=f"{dagster_url}/runs/{run_id}",
        message=next(iter(causes + endings), _NO_REASON),
        failed_steps=tuple(event.step_key for event in steps if event.step_key is not None),
        failed_checks=_failed_checks(instance, run_id),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def root_cause(error: ErrorInfo | None) -> str:
    """Return the first line of what went wrong first: a retried step wraps it in others."""
    while error is not None and error.cause is not None:
        error = error.cause
    return first_line("" if error is None else error.message)


def first_line(text: str) -> str:
    """Return the first line that says something; a sentence where none does."""
    lines = (line.strip() for line in text.splitlines())
    return next(filter(None, lines), _NO_REASON)


def _failed_checks(instance: dg.DagsterInstance, run_id: str) -> tuple[str, ...]:
    evaluations = [
        event.asset_check_evaluation_data
        for event in _events(instance, run_id, _KINDS.ASSET_CHECK_EVALUATION)
    ]
    return tuple(
        f"{each.asset_key.to_user_string()}: {each.check_name}"
        for each in evaluations
        if not each.passed and each.severity is dg.AssetCheckSeverity.ERROR
    )


def _events(
    instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType
) -> list[dg.DagsterEvent]:
    entries = instance.all_logs(run_id, of_type=kind)
    return [entry.dagster_event for entry in entries if entry.dagster_event is not None]
