"""What the short commands do: one run of the graph, a rollback, a look at what runs."""

import functools
from datetime import datetime
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.table import Table

from diabetes_platform.lake.delta import Lake
from diabetes_platform.local.api.client import answer_of
from diabetes_platform.local.commands.graph import (
    launch_in,
    roll_back_in,
    roll_back_model_in,
    run_in,
)
from diabetes_platform.local.commands.rollback import roll_back, roll_back_model
from diabetes_platform.local.commands.status import stack_status
from diabetes_platform.local.console import Progress, failure_line
from diabetes_platform.local.dagster.batch import JOB, Follower, Outcome, run_batch
from diabetes_platform.local.dagster.submit import Wanted
from diabetes_platform.local.dagster.supervision import supervised
from diabetes_platform.local.environment import enter
from diabetes_platform.local.environments import pipeline_environment
from diabetes_platform.local.errors import FailedError, LauncherError
from diabetes_platform.local.home import Layout
from diabetes_platform.local.install.plan import everything, with_development
from diabetes_platform.local.install.plan import install as install_parts
from diabetes_platform.local.install.shown import Shown
from diabetes_platform.local.locks import Use, holder, one_batch
from diabetes_platform.local.platform import running_platform
from diabetes_platform.local.postgres.data import running_server
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import PlatformSettings, inherited_environment
from diabetes_platform.streaming.load_plan import LoadPlan


def materialize(
    settings: PlatformSettings, console: Console, *, source: str | None, select: str | None
) -> None:
    """Run the batch graph and show its steps; raises FailedError that says what failed."""
    stack = _running_stack(settings)
    with Progress(console) as progress:
        if stack is not None:
            log = stack.layout.log(JOB)
            outcome = run_in(stack, progress, source=source, select=select)
        else:
            log = Layout.of(settings).log(JOB)
            outcome = _run_here(settings, progress, source, select)
        _tell(progress, outcome, log)


def launch(settings: PlatformSettings, console: Console, wanted: Wanted) -> None:
    """Run a job of the running platform and show its steps; FailedError says what failed."""
    stack = _require_stack(settings)
    with Progress(console) as progress:
        _tell(progress, launch_in(stack, progress, wanted), stack.layout.log(wanted.job))


def _tell(progress: Progress, outcome: Outcome, log: Path) -> None:
    if outcome.failures:
        raise FailedError(failure_line(outcome, log))
    progress.say(f"run {outcome.run_id} succeeded ({progress.elapsed:.1f} s)")


def _run_here(
    settings: PlatformSettings, progress: Progress, source: str | None, select: str | None
) -> Outcome:
    from diabetes_platform.definitions import build_definitions

    log = Layout.of(settings).log(JOB)
    with running_platform(settings) as platform, dg.DagsterInstance.get() as instance:
        follower = Follower(progress.step_started, progress.step_ended)
        definitions = build_definitions()
        run = functools.partial(
            run_batch, definitions, instance, follower, log=log, source=source, select=select
        )
        return supervised(platform, instance, run)


def rollback(settings: PlatformSettings, console: Console) -> None:
    """Put the previous version of serving.patients back; FailedError where there is none."""
    stack = _running_stack(settings)
    if stack is not None:
        roll_back_in(stack, console)
        return
    with (
        running_platform(settings) as platform,
        one_batch(platform.layout),
        dg.DagsterInstance.get() as instance,
    ):
        roll_back(platform.warehouse_url, instance, console)


def rollback_model(
    settings: PlatformSettings, console: Console, *, version: str | None, reason: str
) -> None:
    """Put an earlier model back and withdraw the champion; FailedError where there is none."""
    stack = _running_stack(settings)
    if stack is not None:
        roll_back_model_in(stack, console, version=version, reason=reason)
        return
    with (
        running_platform(settings) as platform,
        one_batch(platform.layout),
        dg.DagsterInstance.get() as instance,
    ):
        roll_back_model(settings, instance, console, version=version, reason=reason)


def training_set(
    settings: PlatformSettings, console: Console, *, at: datetime, output: Path | None
) -> None:
    """Show the training set as it was at a past time; see `launcher.training_set`."""
    from diabetes_platform.local.commands.training_set import show_training_set

    stack = _running_stack(settings)
    if stack is not None:
        enter(pipeline_environment(stack, inherited_environment()))
        settings = PlatformSettings()
    show_training_set(Lake(settings.lake, settings.s3), console, at, output)


def load(settings: PlatformSettings, console: Console, plan: LoadPlan) -> None:
    """Feed patients to the running platform; see `launcher.load`."""
    from diabetes_platform.local.commands.load import load as run

    run(_require_stack(settings), console, plan)


def _require_stack(settings: PlatformSettings) -> Stack:
    stack = _running_stack(settings)
    if stack is None:
        raise LauncherError("the whole platform does not run: start it with `make up`")
    return stack


def _running_stack(settings: PlatformSettings) -> Stack | None:
    """Return the whole platform where it runs in this home."""
    now = holder(Layout.of(settings))
    return Stack(settings) if now is not None and now.use == Use.STACK else None


def status(settings: PlatformSettings, console: Console) -> None:
    """Show what answers; raises LauncherError that names what does not."""
    stack = _running_stack(settings)
    if stack is not None:
        stack_status(stack, console)
        return
    layout = Layout.of(settings)
    now = holder(layout)
    server = running_server(layout.postgres)
    rows = {
        "platform": "runs" if now else "does not run",
        "PostgreSQL": f"port {server.port}, pid {server.pid}" if server else "does not run",
        "API": answer_of(f"{settings.api}/ready"),
        "Dagster": answer_of(f"{settings.dagster}/server_info"),
    }
    table = Table(show_header=False)
    for name, state in rows.items():
        table.add_row(name, state)
    console.print(table)
    down = [name for name, state in rows.items() if state.startswith("does not")]
    if down:
        raise LauncherError(f"not running: {', '.join(down)}; start with `make demo` or `make up`")


def install(settings: PlatformSettings, console: Console, *, development: bool) -> None:
    """Install all that the servers need; raises LauncherError that says what is missing."""
    parts = with_development() if development else everything()
    tools = Layout.of(settings).tools
    with Progress(console) as progress:
        install_parts(parts, tools, inherited_environment(), Shown(progress))
