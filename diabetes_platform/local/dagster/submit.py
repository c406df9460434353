"""One run in the running platform: queued, followed, ended on Ctrl-C."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import dagster as dg
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import SQLAlchemyError

from diabetes_platform.local.dagster.batch import (
    JOB,
    Follower,
    Outcome,
    chosen_assets,
    failures,
    source_config,
)
from diabetes_platform.local.dagster.client import DagsterClient
from diabetes_platform.local.dagster.run_log import RunLog
from diabetes_platform.local.errors import PlatformError

Handler = Callable[[dg.EventLogEntry], None]
Tell = Callable[[str], None]
_Answer = TypeVar("_Answer")

_POLL_SECONDS = 0.25
_WAITING_SECONDS = 5.0
"""So long a run may be queued before it is told."""
_DECIDING_SECONDS = 10.0
_ENDING_SECONDS = 90.0
_AWAY = (SQLAlchemyError, DagsterPostgresException)
_AWAY_SECONDS = 30.0
"""A database that restarts is back much sooner."""
_WILL_RETRY = "dagster/will_retry"
_RETRY = "dagster/auto_retry_run_id"
_STATUS = dg.DagsterRunStatus


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """A run to ask for: a job, all of it or some of its assets, perhaps of one partition."""

    job: str
    run_config: Mapping[str, object] = field(default_factory=dict)
    assets: Sequence[dg.AssetKey] | None = None
    partition: str | None = None

    @property
    def tags(self) -> dict[str, str]:
        """Dagster's own way of naming the partition of a run."""
        return {} if self.partition is None else {"dagster/partition": self.partition}


def batch_request(
    load: Callable[[], dg.Definitions], source: str | None = None, select: str | None = None
) -> LaunchRequest:
    """Ask for the batch job, or the assets of it that `select` names.

    `load` gives the definitions that `select` is looked up in. Raises PlatformError where it names
    none.
    """
    keys = None if select is None else chosen_assets(load(), select, source)
    return LaunchRequest(JOB, run_config=source_config(source), assets=keys)


def submit(
    wanted: LaunchRequest,
    client: DagsterClient,
    instance: dg.DagsterInstance,
    follower: Follower,
    *,
    log: Path,
    on_wait: Tell = lambda _: None,
) -> Outcome:
    """Put a run into the running platform's queue and follow it to its end.

    Like `run_batch`, but in a process of the platform's: in its queue, visible in its UI, retried
    where its process is lost, which is followed too. `on_wait` is told why nothing happens yet. An
    interrupt ends the run and is raised again. Raises PlatformError where Dagster does not answer
    or refuses.
    """
    run_id = client.launch(
        wanted.job, run_config=wanted.run_config, assets=wanted.assets, tags=wanted.tags
    )
    runs = _Runs(instance, on_wait)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        handlers = (follower, RunLog(file))
        run = _follow(client, runs, run_id, handlers, on_wait)
        while _will_be_retried(runs, run):
            on_wait(f"run {run.run_id} was lost and is started again")
            follower.run_error = None
            run = _follow(client, runs, _retry_of(runs, run.run_id), handlers, on_wait)
    return Outcome(run.run_id, list(follower.steps.values()), _failures(run, follower))


class _Runs:
    """The platform's runs as its database has them; one that is away for a moment is waited for."""

    def __init__(self, instance: dg.DagsterInstance, on_wait: Tell) -> None:
        self._instance = instance
        self._on_wait = on_wait
        logging.getLogger().addFilter(_tells_more_than_a_retry)

    def get(self, run_id: str) -> dg.DagsterRun:
        """Return a run as it is now."""
        run = self._patiently(lambda: self._instance.get_run_by_id(run_id))
        if run is None:
            raise PlatformError(f"run {run_id} was deleted while it was followed")
        return run

    def events(
        self, run_id: str, cursor: str | None
    ) -> tuple[Sequence[dg.EventLogEntry], str | None]:
        """Return the events after `cursor`, and the cursor after them."""
        page = self._patiently(lambda: self._instance.get_records_for_run(run_id, cursor=cursor))
        return [record.event_log_entry for record in page.records], page.cursor

    def _patiently(self, ask: Callable[[], _Answer]) -> _Answer:
        deadline = time.monotonic() + _AWAY_SECONDS
        told = False
        while True:
            try:
                return ask()
            except _AWAY as error:
                problem = f"Dagster's database does not answer ({type(error).__name__})"
                if time.monotonic() > deadline:
                    raise PlatformError(f"{problem}: see `diabetes status`") from error
                if not told:
                    self._on_wait(problem)
                told = True
                time.sleep(_POLL_SECONDS)


def _tells_more_than_a_retry(record: logging.LogRecord) -> bool:
    """Dagster warns in several lines of each attempt to reach a database that restarts."""
    return not record.getMessage().startswith("Retrying failed database connection")


def _follow(
    client: DagsterClient, runs: _Runs, run_id: str, handlers: Sequence[Handler], on_wait: Tell
) -> dg.DagsterRun:
    """Pass on each event of a run until it has ended, and return it as it then is."""
    cursor = None
    waits_at = time.monotonic() + _WAITING_SECONDS
    try:
        while True:
            run = runs.get(run_id)
            entries, cursor = runs.events(run_id, cursor)
            for entry in entries:
                for handle in handlers:
                    handle(entry)
            if run.is_finished and not entries:
                return run
            if run.status == _STATUS.QUEUED and time.monotonic() > waits_at:
                on_wait(f"run {run_id} waits in Dagster's queue: {client.base_url}/runs")
                waits_at = float("inf")
            if not entries:
                time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        _end(client, runs, run_id)
        raise


def _will_be_retried(runs: _Runs, run: dg.DagsterRun) -> bool:
    """Whether Dagster starts a failed run again: it says so a moment after the failure."""
    deadline = time.monotonic() + _DECIDING_SECONDS
    while run.status == _STATUS.FAILURE and _WILL_RETRY not in run.tags:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
        run = runs.get(run.run_id)
    return run.status == _STATUS.FAILURE and run.tags[_WILL_RETRY] == "true"


def _retry_of(runs: _Runs, run_id: str) -> str:
    """Wait until the daemon has started a lost run again; return the new run's id."""
    while True:
        retry = runs.get(run_id).tags.get(_RETRY)
        if retry is not None:
            return retry
        time.sleep(_POLL_SECONDS)


def _end(client: DagsterClient, runs: _Runs, run_id: str) -> None:
    """End a run and wait until it has ended, so that another may follow at once."""
    client.terminate(run_id)
    deadline = time.monotonic() + _ENDING_SECONDS
    while not runs.get(run_id).is_finished:
        if time.monotonic() > deadline:
            raise PlatformError(f"run {run_id} has not ended yet: {client.base_url}/runs/{run_id}")
        time.sleep(_POLL_SECONDS)


def _failures(run: dg.DagsterRun, follower: Follower) -> list[str]:
    if run.status == _STATUS.SUCCESS:
        return []
    if run.status == _STATUS.CANCELED:
        return ["the run was canceled"]
    return failures(list(follower.steps.values()), follower.run_error)
