"""What surrounds a batch in the launcher's own process: no other beside it, failures told."""

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
"""The tag of every run of the batch job, wherever it was started."""
_STATUS = dg.DagsterRunStatus
_RUNNING = [_STATUS.NOT_STARTED, _STATUS.STARTING, _STATUS.STARTED, _STATUS.CANCELING]


def supervised(
    platform: DemoPlatform, instance: dg.DagsterInstance, run: Callable[[], Outcome]
) -> Outcome:
    """Call `run` as the only batch of this home and tell the alert channels where it failed.

    Raises PlatformError where another batch is running. An alert that was not taken is one more
    of the outcome's failures.
    """
    with lock_batch(platform.layout):
        fail_abandoned_runs(instance, alone=platform.postgres.pid is not None)
        refuse_beside_another(instance, platform.settings)
        outcome = run()
        if outcome.failures:
            _alert(outcome, instance, platform.settings)
    return outcome


def fail_abandoned_runs(instance: dg.DagsterInstance, *, alone: bool) -> list[str]:
    """Mark runs whose process is gone as failed, and return their ids.

    Call it with the batch lock held: then no run of a launcher's own process goes on. `alone` says
    that this process has just started the database: then no run at all does.
    """
    tags = {} if alone else IN_PROCESS
    abandoned = instance.get_runs(dg.RunsFilter(statuses=_RUNNING, tags=tags))
    for run in abandoned:
        instance.report_run_failed(run, "The process of this run ended before the run did.")
    return [run.run_id for run in abandoned]


def refuse_beside_another(instance: dg.DagsterInstance, settings: PlatformSettings) -> None:
    """Raise PlatformError where a batch that Dagster's queue started is running."""
    running = instance.get_runs(dg.RunsFilter(statuses=_RUNNING, tags=BATCH), limit=1)
    for run in running:
        raise PlatformError(
            f"another batch is running ({settings.dagster}/runs/{run.run_id}): "
            "wait until it has ended and try again"
        )


def _alert(outcome: Outcome, instance: dg.DagsterInstance, settings: PlatformSettings) -> None:
    """The daemon's sensor may not run, or not have begun to look: it skips what was told here."""
    try:
        send_alert(describe_failure(instance, outcome.run_id, settings.dagster), settings)
    except AlertError as error:
        outcome.failures.append(str(error))
