"""One run of the batch graph in the running platform: queued, followed, ended on Ctrl-C."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from diabetes_platform.launcher.batch import (
    JOB,
    Follower,
    Outcome,
    chosen_assets,
    failures,
    source_config,
)
from diabetes_platform.launcher.dagster_client import DagsterClient
from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.run_log import RunLog

Handler = Callable[[dg.EventLogEntry], None]

WAITING_SECONDS = 5.0
"""So long a run may take to start before it is told that it waits."""
_POLL_SECONDS = 0.25
_ENDING_SECONDS = 90.0
_DECIDING_SECONDS = 10.0
_WILL_RETRY = "dagster/will_retry"
_RETRY = "dagster/auto_retry_run_id"
_STATUS = dg.DagsterRunStatus


def submit_batch(
    load: Callable[[], dg.Definitions],
    client: DagsterClient,
    instance: dg.DagsterInstance,
    follower: Follower,
    *,
    log: Path,
    source: str | None = None,
    select: str | None = None,
    on_wait: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Run the batch job, or the assets of it that `select` names, in the running platform.

    Like `run_batch`, but in a process of the platform's: in its queue, visible in its UI, retried
    where its process is lost, which is followed too. `load` gives the definitions that `select` is
    looked up in. `on_wait` is told why nothing happens yet. An interrupt ends the run and is
    raised again. Raises LauncherError where Dagster does not answer or refuses.
    """
    keys = None if select is None else chosen_assets(load(), select, source)
    run_id = client.launch(JOB, run_config=source_config(source), assets=keys)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        handlers = (follower, RunLog(file))
        run = _follow(client, instance, run_id, handlers, on_wait)
        while _will_be_retried(instance, run):
            follower.run_error = None
            run_id = _retry_of(client, instance, run.run_id, on_wait)
            run = _follow(client, instance, run_id, handlers, on_wait)
    steps = list(follower.steps.values())
    return Outcome(run_id, steps, _failures(run, follower))


def _failures(run: dg.DagsterRun, follower: Follower) -> list[str]:
    if run.status == _STATUS.SUCCESS:
        return []
    if run.status == _STATUS.CANCELED:
        return ["the run was canceled"]
    return failures(list(follower.steps.values()), follower.run_error)


def _follow(
    client: DagsterClient,
    instance: dg.DagsterInstance,
    run_id: str,
    handlers: Sequence[Handler],
    on_wait: Callable[[str], None],
) -> dg.DagsterRun:
    """Pass on each event of a run until it has ended, and return it as it then is."""
    events = _Events(instance, run_id)
    waits_at = time.monotonic() + WAITING_SECONDS
    try:
        while True:
            run = _found(instance, run_id)
            for entry in events.new():
                for handle in handlers:
                    handle(entry)
            if run.is_finished:
                return run
            if run.status == _STATUS.QUEUED and time.monotonic() > waits_at:
                on_wait(f"run {run_id} waits in Dagster's queue: {client.base_url}/runs")
                waits_at = float("inf")
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        _end(client, instance, run_id)
        raise
    except SQLAlchemyError as error:
        raise LauncherError(
            f"run {run_id} cannot be followed any more ({type(error).__name__}), but goes on: "
            f"{client.base_url}/runs/{run_id}"
        ) from error


class _Events:
    """The events of a run, each once."""

    def __init__(self, instance: dg.DagsterInstance, run_id: str) -> None:
        self._instance = instance
        self._run_id = run_id
        self._cursor: str | None = None

    def new(self) -> list[dg.EventLogEntry]:
        """Return those that were stored since the last call."""
        entries = []
        more = True
        while more:
            page = self._instance.get_records_for_run(self._run_id, cursor=self._cursor)
            self._cursor, more = page.cursor, page.has_more
            entries += [record.event_log_entry for record in page.records]
        return entries


def _will_be_retried(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether Dagster starts a failed run again: it says so a moment after the failure."""
    deadline = time.monotonic() + _DECIDING_SECONDS
    while run.status == _STATUS.FAILURE and _WILL_RETRY not in run.tags:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
        run = _found(instance, run.run_id)
    return run.status == _STATUS.FAILURE and run.tags[_WILL_RETRY] == "true"


def _retry_of(
    client: DagsterClient,
    instance: dg.DagsterInstance,
    run_id: str,
    on_wait: Callable[[str], None],
) -> str:
    """Wait until the daemon has started a lost run again; return the new run's id."""
    on_wait(f"run {run_id} was lost and is started again: {client.base_url}/runs/{run_id}")
    while True:
        retry = _found(instance, run_id).tags.get(_RETRY)
        if retry is not None:
            return retry
        time.sleep(_POLL_SECONDS)


def _end(client: DagsterClient, instance: dg.DagsterInstance, run_id: str) -> None:
    """End a run and wait until it has ended, so that another may follow at once."""
    client.terminate(run_id)
    deadline = time.monotonic() + _ENDING_SECONDS
    while not _found(instance, run_id).is_finished:
        if time.monotonic() > deadline:
            raise LauncherError(f"run {run_id} has not ended yet: {client.base_url}/runs/{run_id}")
        time.sleep(_POLL_SECONDS)


def _found(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    run = instance.get_run_by_id(run_id)
    if run is None:
        raise LauncherError(f"run {run_id} was deleted while it was followed")
    return run
