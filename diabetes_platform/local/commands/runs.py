"""`diabetes materialize` and `diabetes launch`: a run of a Dagster job, shown step by step."""

import getpass
import os
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from pydantic import ValidationError
from rich.console import Console

from diabetes_platform.errors import FailedError, PlatformError
from diabetes_platform.local.console import Progress, failure_line, success_lines
from diabetes_platform.local.dagster.batch import JOB, Follower, RunOutcome, run_exclusively
from diabetes_platform.local.dagster.client import DagsterClient, LaunchRequest
from diabetes_platform.local.dagster.environment import enter_platform, enter_stack
from diabetes_platform.local.dagster.instance import open_instance
from diabetes_platform.local.dagster.submit import batch_request, submit
from diabetes_platform.local.demo_platform import DemoPlatform
from diabetes_platform.local.stack import Stack, require_running_stack
from diabetes_platform.orchestration.acceptance import Acceptance
from diabetes_platform.settings import PlatformSettings


def materialize(
    settings: PlatformSettings,
    console: Console,
    *,
    source: str | None,
    select: str | None,
    acceptance: Acceptance | None = None,
) -> None:
    """Run the batch job and show its steps; raises FailedError that says what failed.

    The run is queued in the running platform. Otherwise it runs in this process, on a PostgreSQL
    that is started for it.
    """
    with Progress(console) as progress:
        with enter_platform(settings) as platform:
            if isinstance(platform, Stack):
                request = batch_request(_definitions, source, select, acceptance)
                outcome = _submit(platform, progress, request)
            else:
                outcome = _run_in_process(platform, progress, source, select, acceptance)
        _require_success(progress, outcome, platform.layout.log(JOB))


def acceptance_of(checks: Sequence[str], reason: str | None) -> Acceptance | None:
    """Return the acceptance of failed checks by the current user; None without checks.

    Raises PlatformError for a check that cannot be accepted, for checks without a reason and for a
    reason without checks.
    """
    if not checks:
        if reason is not None:
            raise PlatformError("--reason is for --accept, which is missing")
        return None
    if reason is None or not reason.strip():
        raise PlatformError(f"--accept {checks[0]} needs --reason")
    try:
        return Acceptance(accept=dict.fromkeys(checks, reason), accepted_by=_current_user())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise PlatformError(f"--{first}") from error


def _current_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a user id without an entry in passwd.
        return f"user id {os.getuid()}"


def launch(settings: PlatformSettings, console: Console, request: LaunchRequest) -> None:
    """Run a job in the running platform and show its steps; FailedError says what failed."""
    stack = require_running_stack(settings)
    enter_stack(stack)
    with Progress(console) as progress:
        outcome = _submit(stack, progress, request)
        _require_success(progress, outcome, stack.layout.log(request.job))


def _submit(stack: Stack, progress: Progress, request: LaunchRequest) -> RunOutcome:
    with open_instance() as instance:
        return submit(
            request,
            DagsterClient(stack.settings.dagster),
            instance,
            Follower(progress.step_started, progress.step_ended),
            log=stack.layout.log(request.job),
            on_wait=progress.say,
        )


def _run_in_process(
    platform: DemoPlatform,
    progress: Progress,
    source: str | None,
    select: str | None,
    acceptance: Acceptance | None,
) -> RunOutcome:
    with open_instance() as instance:
        follower = Follower(progress.step_started, progress.step_ended)
        return run_exclusively(
            platform,
            instance,
            _definitions(),
            follower,
            source=source,
            select=select,
            acceptance=acceptance,
        )


def _require_success(progress: Progress, outcome: RunOutcome, log: Path) -> None:
    if outcome.failures:
        raise FailedError(failure_line(outcome, log))
    for line in success_lines(outcome, progress.elapsed):
        progress.say(line)


def _definitions() -> dg.Definitions:
    from diabetes_platform.definitions import build_definitions

    return build_definitions()
