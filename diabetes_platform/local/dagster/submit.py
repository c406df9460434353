"""Runs in the running platform: launch through Dagster's queue, follow, terminate on Ctrl-C."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import dagster as dg

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.dagster.batch import (
    JOB,
    Follower,
    RunOutcome,
    batch_config,
    failures,
    select_assets,
)
from diabetes_platform.local.dagster.client import DagsterClient, LaunchRequest
from diabetes_platform.local.dagster.instance import (
    DATABASE_ERRORS,
    database_error,
    database_problem,
)
from diabetes_platform.local.dagster.run_log import run_log
from diabetes_platform.orchestration.acceptance import Acceptance
from diabetes_platform.polling import wait_until

EventHandler = Callable[[dg.EventLogEntry], None]
OnWait = Callable[[str], None]
_Result = TypeVar("_Result")

_POLL_SECONDS = 0.25
_QUEUED_SECONDS = 5.0
"""The time in the queue after which `on_wait` is called."""
_RETRY_DECISION_SECONDS = 10.0
_TERMINATION_SECONDS = 90.0
_DATABASE_SECONDS = 30.0
"""Much longer than a restart of the database takes."""
_WILL_RETRY = "dagster/will_retry"
_RETRY = "dagster/auto_retry_run_id"
_STATUS = dg.DagsterRunStatus


def batch_request(
    load: Callable[[], dg.Definitions],
    source: str | None = None,
    select: str | None = None,
    acceptance: Acceptance | None = None,
) -> LaunchRequest:
    """Return the request for the batch job, or for the assets of it that `select` names.

    `load` returns the definitions, which only a selection needs. Raises PlatformError if `select`
    names no asset.
    """
    keys = None if select is None else select_assets(load(), select, source, acceptance)
    return LaunchRequest(JOB, run_config=batch_config(source, acceptance), assets=keys)


def submit(
    request: LaunchRequest,
    client: DagsterClient,
    instance: dg.DagsterInstance,
    follower: Follower,
    *,
    log: Path,
    on_wait: OnWait = lambda _: None,
) -> RunOutcome:
    """Launch a run in the queue of the running platform and follow it to its end.

    Dagster retries a run whose process was lost, and this follows the retry. `on_wait` is called
    with the reason for a delay. Ctrl-C terminates the run and raises KeyboardInterrupt. Raises
    PlatformError if Dagster does not answer or rejects the request.
    """
    runs = _Runs(client, instance, on_wait)
    run_id = client.launch(request)
    with run_log(log) as append:
        run = runs.follow(run_id, (follower, append))
        while runs.will_be_retried(run):
            on_wait(f"run {run.run_id} was lost and is retried")
            follower.run_error = None
            run = runs.follow(runs.retry_of(run.run_id), (follower, append))
    return RunOutcome(run.run_id, list(follower.steps.values()), _failures(run, follower))


class _Runs:
    """The platform's runs; requests to Dagster's database are repeated while it restarts."""

    def __init__(
        self, client: DagsterClient, instance: dg.DagsterInstance, on_wait: OnWait
    ) -> None:
        self._client = client
        self._instance = instance
        self._on_wait = on_wait
        logging.getLogger().addFilter(_is_not_a_retry_warning)

    def get(self, run_id: str) -> dg.DagsterRun:
        """Return the current state of a run."""

        def request() -> dg.DagsterRun:
            if (run := self._instance.get_run_by_id(run_id)) is None:
                raise PlatformError(f"run {run_id} was deleted while it was followed")
            return run

        return self._retry(request)

    def follow(self, run_id: str, handlers: Sequence[EventHandler]) -> dg.DagsterRun:
        """Pass each event of a run to `handlers` until it has ended; return its final state."""
        cursor: str | None = None
        queue_deadline = time.monotonic() + _QUEUED_SECONDS
        try:
            while True:
                run = self.get(run_id)
                page = self._retry(partial(self._instance.get_records_for_run, run_id, cursor))
                cursor = page.cursor
                for record in page.records:
                    for handle in handlers:
                        handle(record.event_log_entry)
                if run.is_finished and not page.records:
                    return run
                if run.status == _STATUS.QUEUED and time.monotonic() > queue_deadline:
                    url = f"{self._client.base_url}/runs"
                    self._on_wait(f"run {run_id} waits in Dagster's queue: {url}")
                    queue_deadline = float("inf")
                if not page.records:
                    time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            self._terminate(run_id)
            raise

    def will_be_retried(self, run: dg.DagsterRun) -> bool:
        """Whether Dagster retries a failed run; it decides this shortly after the failure."""

        def decided() -> dg.DagsterRun | None:
            current = self.get(run.run_id)
            pending = current.status == _STATUS.FAILURE and _WILL_RETRY not in current.tags
            return None if pending else current

        try:
            current = wait_until(decided, timeout=_RETRY_DECISION_SECONDS, interval=_POLL_SECONDS)
        except TimeoutError:
            return False
        if current is None or current.status != _STATUS.FAILURE:
            return False
        return current.tags[_WILL_RETRY] == "true"

    def retry_of(self, run_id: str) -> str:
        """Wait until the daemon has launched the retry of a run, and return its id."""
        while (retry := self.get(run_id).tags.get(_RETRY)) is None:
            time.sleep(_POLL_SECONDS)
        return retry

    def _terminate(self, run_id: str) -> None:
        """Terminate a run and wait for its end, so that another one can start immediately."""
        self._client.terminate(run_id)
        try:
            wait_until(
                lambda: self.get(run_id).is_finished,
                timeout=_TERMINATION_SECONDS,
                interval=_POLL_SECONDS,
            )
        except TimeoutError:
            url = f"{self._client.base_url}/runs/{run_id}"
            raise PlatformError(f"run {run_id} has not ended yet: {url}") from None

    def _retry(self, request: Callable[[], _Result]) -> _Result:
        try:
            return request()
        except DATABASE_ERRORS as error:
            self._on_wait(database_problem(error))
        try:
            # Every result is truthy, as `wait_until` requires.
            return wait_until(
                request,
                timeout=_DATABASE_SECONDS,
                interval=_POLL_SECONDS,
                retry_on=DATABASE_ERRORS,
            )
        except DATABASE_ERRORS as error:
            raise database_error(error) from error


def _is_not_a_retry_warning(record: logging.LogRecord) -> bool:
    """Suppress Dagster's own warnings, several lines for each attempt to reach its database."""
    return not record.getMessage().startswith("Retrying failed database connection")


def _failures(run: dg.DagsterRun, follower: Follower) -> list[str]:
    if run.status == _STATUS.SUCCESS:
        return []
    if run.status == _STATUS.CANCELED:
        return ["the run was canceled"]
    return failures(list(follower.steps.values()), follower.run_error)
