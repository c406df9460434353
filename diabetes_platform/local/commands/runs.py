"""`diabetes materialize` and `diabetes launch`: a run of a Dagster job, shown step by step."""

import functools
from pathlib import Path

import dagster as dg
from rich.console import Console

from diabetes_platform.local.console import Progress, failure_line
from diabetes_platform.local.dagster.batch import JOB, Follower, Outcome, run_batch
from diabetes_platform.local.dagster.client import DagsterClient
from diabetes_platform.local.dagster.environment import pipeline_environment
from diabetes_platform.local.dagster.exclusive_run import run_exclusively
from diabetes_platform.local.dagster.submit import LaunchRequest, batch_request, submit
from diabetes_platform.local.demo_platform import running_demo_platform
from diabetes_platform.local.environment import enter
from diabetes_platform.local.errors import FailedError
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.stack import Stack, require_running_stack, running_stack
from diabetes_platform.settings import PlatformSettings, inherited_environment


def materialize(
    settings: PlatformSettings, console: Console, *, source: str | None, select: str | None
) -> None:
    """Run the batch job and show its steps; raises FailedError that says what failed.

    The run is queued in the running platform. Otherwise it runs in this process, on a PostgreSQL
    that is started for it.
    """
    stack = running_stack(settings)
    with Progress(console) as progress:
        if stack is None:
            log = HomeLayout.of(settings).log(JOB)
            outcome = _run_in_process(settings, progress, source, select)
        else:
            log = stack.layout.log(JOB)
            # The definitions read the platform's settings when they are built.
            enter(pipeline_environment(stack, inherited_environment()))
            outcome = _submit(stack, progress, batch_request(_definitions, source, select))
        _require_success(progress, outcome, log)


def launch(settings: PlatformSettings, console: Console, request: LaunchRequest) -> None:
    """Run a job in the running platform and show its steps; FailedError says what failed."""
    stack = require_running_stack(settings)
    enter(pipeline_environment(stack, inherited_environment()))
    with Progress(console) as progress:
        outcome = _submit(stack, progress, request)
        _require_success(progress, outcome, stack.layout.log(request.job))


def _submit(stack: Stack, progress: Progress, request: LaunchRequest) -> Outcome:
    with dg.DagsterInstance.get() as instance:
        return submit(
            request,
            DagsterClient(stack.settings.dagster),
            instance,
            Follower(progress.step_started, progress.step_ended),
            log=stack.layout.log(request.job),
            on_wait=progress.say,
        )


def _run_in_process(
    settings: PlatformSettings, progress: Progress, source: str | None, select: str | None
) -> Outcome:
    log = HomeLayout.of(settings).log(JOB)
    with running_demo_platform(settings) as platform, dg.DagsterInstance.get() as instance:
        follower = Follower(progress.step_started, progress.step_ended)
        run = functools.partial(
            run_batch, _definitions(), instance, follower, log=log, source=source, select=select
        )
        return run_exclusively(platform, instance, run)


def _require_success(progress: Progress, outcome: Outcome, log: Path) -> None:
    if outcome.failures:
        raise FailedError(failure_line(outcome, log))
    progress.say(f"run {outcome.run_id} succeeded ({progress.elapsed:.1f} s)")


def _definitions() -> dg.Definitions:
    from diabetes_platform.definitions import build_definitions

    return build_definitions()
