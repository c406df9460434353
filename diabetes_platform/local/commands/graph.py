"""The batch graph of the running platform, as the command line drives it."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from rich.console import Console

from diabetes_platform.local.console import Progress
from diabetes_platform.local.dagster.batch import Follower, Outcome
from diabetes_platform.local.dagster.client import DagsterClient
from diabetes_platform.local.dagster.submit import Wanted, submit, wanted_batch
from diabetes_platform.local.dagster.supervision import refuse_beside_another
from diabetes_platform.local.environment import enter
from diabetes_platform.local.environments import database_url, pipeline_environment
from diabetes_platform.local.locks import one_batch
from diabetes_platform.local.platform import WAREHOUSE_DATABASE
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import PlatformSettings, inherited_environment
from diabetes_platform.warehouse.roles import PIPELINE


def run_in(stack: Stack, progress: Progress, *, source: str | None, select: str | None) -> Outcome:
    """Run the batch graph in the platform's own Dagster and follow it; see `submit`."""
    # Before the definitions are made: they are the platform's, with its settings.
    enter(pipeline_environment(stack, inherited_environment()))
    return launch_in(stack, progress, wanted_batch(_definitions, source, select))


def launch_in(stack: Stack, progress: Progress, wanted: Wanted) -> Outcome:
    """Run a job in the platform's own Dagster and follow it; see `submit`."""
    enter(pipeline_environment(stack, inherited_environment()))
    with dg.DagsterInstance.get() as instance:
        return submit(
            wanted,
            DagsterClient(stack.settings.dagster),
            instance,
            Follower(progress.step_started, progress.step_ended),
            log=stack.layout.log(wanted.job),
            on_wait=progress.say,
        )


def roll_back_in(stack: Stack, console: Console) -> None:
    """Put the previous version of serving.patients back; LauncherError beside a running batch."""
    from diabetes_platform.local.commands.rollback import roll_back

    with _beside_no_batch(stack) as instance:
        roll_back(database_url(stack, PIPELINE.name, WAREHOUSE_DATABASE), instance, console)


def roll_back_model_in(stack: Stack, console: Console, *, version: str | None, reason: str) -> None:
    """Put an earlier model back; LauncherError beside a running batch."""
    from diabetes_platform.local.commands.rollback import roll_back_model

    with _beside_no_batch(stack) as instance:
        roll_back_model(PlatformSettings(), instance, console, version=version, reason=reason)


@contextmanager
def _beside_no_batch(stack: Stack) -> Iterator[dg.DagsterInstance]:
    enter(pipeline_environment(stack, inherited_environment()))
    with one_batch(stack.layout), dg.DagsterInstance.get() as instance:
        refuse_beside_another(instance, stack.settings)
        yield instance


def _definitions() -> dg.Definitions:
    from diabetes_platform.definitions import build_definitions

    return build_definitions()
