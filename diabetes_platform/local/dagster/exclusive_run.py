"""A batch run in the process of a command: exclusive in its home, with an alert on failure."""

from collections.abc import Callable

import dagster as dg

from diabetes_platform.defs.alerts.delivery import AlertError, send_alert
from diabetes_platform.defs.alerts.run_failures import describe_failure
from diabetes_platform.local.dagster.batch import IN_PROCESS, Outcome
from diabetes_platform.local.demo_platform import DemoPlatform
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.locks import lock_batch
from diabetes_platform.settings import PlatformSettings

BATCH = {"platform/graph": "batch"}
"""The tag of every run of the batch job."""
_STATUS = dg.DagsterRunStatus
_RUNNING = [_STATUS.NOT_STARTED, _STATUS.STARTING, _STATUS.STARTED, _STATUS.CANCELING]


def run_exclusively(
    platform: DemoPlatform, instance: dg.DagsterInstance, run: Callable[[], Outcome]
) -> Outcome:
    """Call `run` as the only batch of this home, and send an alert if it failed.

    Raises PlatformError if another batch is running. An alert that cannot be delivered is added to
    the failures of the outcome.
    """
    with lock_batch(platform.layout):
        fail_abandoned_runs(instance, alone=platform.postgres.pid is not None)
        require_no_running_batch(instance, platform.settings)
        outcome = run()
        if outcome.failures:
            # The sensor may not run; it does not repeat the alert.
            settings = platform.settings
            try:
                alert = describe_failure(instance, outcome.run_id, settings.dagster)
                send_alert(alert, settings)
            except AlertError as error:
                outcome.failures.append(str(error))
    return outcome


def fail_abandoned_runs(instance: dg.DagsterInstance, *, alone: bool) -> list[str]:
    """Mark runs whose process has ended as failed, and return their ids.

    The caller must hold the batch lock, so that no run in another command's process is active.
    `alone` means that this process has started the database, so that no other run is active either.
    """
    tags = {} if alone else IN_PROCESS
    abandoned = instance.get_runs(dg.RunsFilter(statuses=_RUNNING, tags=tags))
    for run in abandoned:
        instance.report_run_failed(run, "The process of this run ended before the run did.")
    return [run.run_id for run in abandoned]


def require_no_running_batch(instance: dg.DagsterInstance, settings: PlatformSettings) -> None:
    """Raise PlatformError if a batch from Dagster's queue is running."""
    running = instance.get_runs(dg.RunsFilter(statuses=_RUNNING, tags=BATCH), limit=1)
    for run in running:
        raise PlatformError(
            f"another batch is running ({settings.dagster}/runs/{run.run_id}): "
            "wait until it has ended and try again"
        )
