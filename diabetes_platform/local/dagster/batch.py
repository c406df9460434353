"""Runs of the batch job in this process, and the outcome of any run step by step."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from diabetes_platform.contract.tables import RAW_PATIENTS
from diabetes_platform.defs.alerts.delivery import AlertError, send_alert
from diabetes_platform.defs.alerts.run_failures import describe_failure, root_cause
from diabetes_platform.errors import PlatformError
from diabetes_platform.local.dagster.run_log import run_log
from diabetes_platform.local.demo_platform import DemoPlatform
from diabetes_platform.local.locks import lock_batch
from diabetes_platform.orchestration.acceptance import Acceptance
from diabetes_platform.orchestration.check_results import FEW_ROWS_REJECTED
from diabetes_platform.orchestration.describe import GRAPH_TAG, QUARANTINE, STAGING, TRAINING_ROWS
from diabetes_platform.settings import PlatformSettings

JOB = "batch"
BATCH = {GRAPH_TAG: "batch"}
"""The tag of every run of the batch job."""
IN_PROCESS = {"platform/launcher": "in-process"}
"""The tag of a run in the process of a command."""
_NO_RETRY = {"dagster/max_retries": "0"}
"""The daemon cannot retry a run that was started by a command."""
_INTERRUPTED = "Execution was interrupted"
"""The message of Dagster, which handles the signal while a step runs."""
_STATUS = dg.DagsterRunStatus
_UNFINISHED = [_STATUS.NOT_STARTED, _STATUS.STARTING, _STATUS.STARTED, _STATUS.CANCELING]
EXPECTATIONS_OP = "staging_expectations"
REJECTED_ROWS_OP = f"{QUARANTINE.to_python_identifier()}_{FEW_ROWS_REJECTED}"
"""The steps whose checks an operator can accept."""
SOURCE_ASSET = dg.AssetKey(RAW_PATIENTS.name.split("/"))


@dataclass(frozen=True, slots=True)
class Check:
    """The result of an asset check; `blocking` means that a failure is an error."""

    name: str
    asset: str
    passed: bool
    blocking: bool
    description: str

    def __str__(self) -> str:
        text = f"check {self.name} of {self.asset}"
        return f"{text}: {self.description}" if self.description else text


@dataclass(slots=True)
class Step:
    """A step of a run: its materialized assets and its check results."""

    name: str
    started: float
    seconds: float | None = None
    assets: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    error: str | None = None

    @property
    def title(self) -> str:
        """The keys of its assets, or else the name of the step."""
        return ", ".join(dict.fromkeys(self.assets)) or self.name.replace("__", "/")


@dataclass(slots=True)
class RunOutcome:
    """The outcome of a run; `failures` is empty if it succeeded."""

    run_id: str
    steps: list[Step]
    failures: list[str]

    @property
    def rows(self) -> str | None:
        """The batch's rows and the reasons to reject them; None if the run did not count them."""
        checks = (check for step in self.steps for check in step.checks)
        return next((c.description for c in checks if c.name == FEW_ROWS_REJECTED), None)

    @property
    def training_skipped(self) -> bool:
        """Whether the run read the promoted rows and found too few outcomes to train on."""
        name = TRAINING_ROWS.to_python_identifier()
        return any(s.name == name and not s.assets and s.error is None for s in self.steps)

    @property
    def warnings(self) -> list[str]:
        """The names of the failed checks that do not block."""
        checks = (check for step in self.steps for check in step.checks)
        return [check.name for check in checks if not check.passed and not check.blocking]


class Follower:
    """Collects the steps of a run from its events; calls `on_start` and `on_end` with each."""

    def __init__(self, on_start: Callable[[Step], None], on_end: Callable[[Step], None]) -> None:
        self.steps: dict[str, Step] = {}
        self.run_error: str | None = None
        self._on_start = on_start
        self._on_end = on_end

    def __call__(self, entry: dg.EventLogEntry) -> None:
        """Handle the next event of the run."""
        event = entry.dagster_event
        if event is None:
            return
        if event.event_type == dg.DagsterEventType.RUN_FAILURE:
            self.run_error = event.message
        if event.step_key is not None:
            self._step_event(event, event.step_key, entry.timestamp)

    def _step_event(self, event: dg.DagsterEvent, key: str, at: float) -> None:
        kinds = dg.DagsterEventType
        if event.event_type == kinds.STEP_START:
            self.steps[key] = Step(key, at)
            self._on_start(self.steps[key])
        step = self.steps.get(key)
        if step is None:
            # Planned materializations come before the start of their steps.
            return
        if event.event_type == kinds.ASSET_MATERIALIZATION and event.asset_key is not None:
            step.assets.append(event.asset_key.to_user_string())
        elif event.event_type == kinds.ASSET_CHECK_EVALUATION:
            step.checks.append(_check(event.asset_check_evaluation_data))
        elif event.event_type == kinds.STEP_FAILURE:
            step.error = root_cause(event.step_failure_data.error)
        if event.event_type in {kinds.STEP_SUCCESS, kinds.STEP_FAILURE}:
            # Events have the time of day: a clock that is set back gives no negative duration.
            step.seconds = max(0.0, at - step.started)
            self._on_end(step)


def run_batch(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    follower: Follower,
    *,
    log: Path,
    source: str | None = None,
    select: str | None = None,
    acceptance: Acceptance | None = None,
) -> RunOutcome:
    """Run the batch job, or the assets of it that `select` names, and return the outcome.

    `source` overrides the configured source. `acceptance` names failed checks that do not stop it.
    `select` is an asset selection of Dagster, for
    example `key:"staging/patients"+`. Events are appended to `log`. Raises PlatformError if
    `select` names no asset of the job or omits the one that reads `source`, and KeyboardInterrupt
    after Dagster has recorded an interrupt.
    """
    keys = None
    if select is not None:
        keys = select_assets(definitions, select, source, acceptance)
    job = definitions.resolve_job_def(JOB)
    run_id = str(uuid.uuid4())
    instance.add_event_listener(run_id, follower)
    with run_log(log) as append:
        instance.add_event_listener(run_id, append)
        result = job.execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_id=run_id,
            run_config=run_config(source, acceptance),
            asset_selection=keys,
            tags={**IN_PROCESS, **_NO_RETRY},
        )
    if not result.success and _INTERRUPTED in (follower.run_error or ""):
        raise KeyboardInterrupt
    steps = list(follower.steps.values())
    return RunOutcome(run_id, steps, [] if result.success else failures(steps, follower.run_error))


def run_exclusively(
    platform: DemoPlatform,
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    follower: Follower,
    *,
    source: str | None = None,
    select: str | None = None,
    acceptance: Acceptance | None = None,
) -> RunOutcome:
    """Call `run_batch` as the only batch of this home, and send an alert if the run failed.

    Raises PlatformError if another batch is running. An alert that cannot be delivered is added to
    the failures of the outcome.
    """
    settings, log = platform.settings, platform.layout.log(JOB)
    with lock_batch(platform.layout):
        fail_abandoned_runs(instance, alone=platform.postgres.pid is not None)
        require_no_running_batch(instance, settings)
        outcome = run_batch(
            definitions,
            instance,
            follower,
            log=log,
            source=source,
            select=select,
            acceptance=acceptance,
        )
        if outcome.failures:
            # The sensor may not run; it does not repeat the alert.
            try:
                send_alert(describe_failure(instance, outcome.run_id, settings.dagster), settings)
            except AlertError as error:
                outcome.failures.append(str(error))
    return outcome


def fail_abandoned_runs(instance: dg.DagsterInstance, *, alone: bool) -> list[str]:
    """Mark runs whose process has ended as failed, and return their ids.

    The caller must hold the batch lock, so that no run in another command's process is active.
    `alone` means that this process has started the database, so that no other run is active either.
    """
    tags = {} if alone else IN_PROCESS
    abandoned = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED, tags=tags))
    for run in abandoned:
        instance.report_run_failed(run, "The process of this run ended before the run did.")
    return [run.run_id for run in abandoned]


def require_no_running_batch(instance: dg.DagsterInstance, settings: PlatformSettings) -> None:
    """Raise PlatformError if a batch from Dagster's queue is running."""
    running = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED, tags=BATCH), limit=1)
    for run in running:
        raise PlatformError(
            f"another batch is running ({settings.dagster}/runs/{run.run_id}): "
            "wait until it has ended and try again"
        )


def run_config(source: str | None, acceptance: Acceptance | None = None) -> dict[str, object]:
    """Return `batch_config`, without event lines on the terminal."""
    console = {"console": {"config": {"log_level": "CRITICAL"}}}
    return {"loggers": console, **batch_config(source, acceptance)}


def batch_config(source: str | None, acceptance: Acceptance | None = None) -> dict[str, object]:
    """Return the run config with `source` and `acceptance`; empty without both."""
    ops: dict[str, object] = {}
    if source is not None:
        ops[SOURCE_ASSET.to_python_identifier()] = {"config": {"source": source}}
    if acceptance is not None:
        config = {"accept": acceptance.accept, "accepted_by": acceptance.accepted_by}
        ops |= {step: {"config": config} for step in (REJECTED_ROWS_OP, EXPECTATIONS_OP)}
    return {"ops": ops} if ops else {}


def select_assets(
    definitions: dg.Definitions,
    select: str,
    source: str | None,
    acceptance: Acceptance | None = None,
) -> list[dg.AssetKey]:
    """Return the keys of the job's assets that `select` names.

    Raises PlatformError if it names none, if none of them reads `source`, or if the checks that can
    be accepted are not part of it.
    """
    assets = definitions.resolve_asset_graph()
    try:
        selected = dg.AssetSelection.from_string(select).resolve(assets)
    except dg.DagsterError as error:
        raise PlatformError(f"--select {select}: {str(error).splitlines()[0]}") from error
    job = definitions.resolve_job_def(JOB)
    keys = sorted(key for key in job.asset_layer.executable_asset_keys if key in selected)
    if not keys:
        names = ", ".join(sorted(key.to_user_string() for key in assets.executable_asset_keys))
        raise PlatformError(f"--select {select} names no asset; available: {names}")
    if source is not None and SOURCE_ASSET not in keys:
        raise PlatformError(f"--source needs {SOURCE_ASSET.to_user_string()} in --select {select}")
    checked = {QUARANTINE, STAGING}
    if acceptance is not None and not checked <= set(keys):
        names = " and ".join(sorted(key.to_user_string() for key in checked))
        raise PlatformError(f"--accept needs {names} in --select {select}")
    return keys


def failures(steps: list[Step], run_error: str | None) -> list[str]:
    """Return the failed blocking checks, or else the failed steps, or else the run error."""
    checks = [
        str(check) for step in steps for check in step.checks if check.blocking and not check.passed
    ]
    # The error of a step with a failed check only repeats the check.
    errors = [f"{step.title}: {step.error}" for step in steps if step.error and not checks]
    return checks or errors or [run_error or "the run failed without an error message"]


def _check(evaluation: dg.AssetCheckEvaluation) -> Check:
    return Check(
        name=evaluation.check_name,
        asset=evaluation.asset_key.to_user_string(),
        passed=evaluation.passed,
        blocking=evaluation.severity == dg.AssetCheckSeverity.ERROR,
        description=evaluation.description or _metadata_text(evaluation.metadata),
    )


def _metadata_text(metadata: Mapping[str, dg.MetadataValue[Any]]) -> str:
    """Return the text and numbers of a check's metadata, without links and tables."""
    plain = {
        name: value.value
        for name, value in metadata.items()
        if isinstance(value.value, str | int | float) and not str(value.value).startswith("http")
    }
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in plain.items())
