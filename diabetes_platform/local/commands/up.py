"""`diabetes up`: from whatever is there to every service of the platform healthy."""

import os
from contextlib import ExitStack

from rich.console import Console

from diabetes_platform.local.commands.down import stop
from diabetes_platform.local.commands.logs import set_aside_large_logs
from diabetes_platform.local.commands.status import status_table
from diabetes_platform.local.console import Progress, timings_table
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.install.disk import GIB, require_space
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.install.plan import install
from diabetes_platform.local.install.progress import ConsoleProgress
from diabetes_platform.local.locks import BusyError, HomeLock, Use, exclusive, make_private
from diabetes_platform.local.platform import link
from diabetes_platform.local.ports import require_free
from diabetes_platform.local.readiness import wait_until_healthy
from diabetes_platform.local.services import (
    components,
    install_plan,
    process_files,
    supervisor_environment,
    write_environments,
)
from diabetes_platform.local.signals import ignore_signals, stoppable
from diabetes_platform.local.spark.modes import SparkMode
from diabetes_platform.local.spark.service import MASTER
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervised import end, members
from diabetes_platform.local.supervisor import ProcessState, Supervisor
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, Port, inherited_environment

STATE_SPACE = GIB
"""What the services' data and logs need at least when they start."""
_GRACE_SECONDS = 5.0


def up(settings: PlatformSettings, console: Console, *, spark: SparkMode, started: float) -> None:
    """Install what is missing, start every service in the background, wait until all is healthy.

    Where the platform runs already, it is only waited for. `started` is what
    `time.perf_counter` said when the command began. Raises PlatformError with one line where
    something fails or this is interrupted; then nothing that was started is left.
    """
    stack = Stack(settings, spark)
    with stoppable(), Progress(console, started) as progress:
        try:
            with exclusive(stack.home) as lock:
                processes = _start(stack, lock, progress)
        except BusyError as busy:
            if busy.holder.use != Use.STACK:
                raise
            processes = _join(stack, progress)
    console.print(status_table(stack, processes, components(stack)))
    console.print(timings_table(progress.timings, progress.elapsed))


def _start(stack: Stack, lock: HomeLock, progress: Progress) -> list[ProcessState]:
    environment = inherited_environment()
    java_home = str(find_java(environment).parents[1])
    _end_orphans(stack, progress)
    require_free_ports(stack)
    install(install_plan(), stack.layout.tools, environment, ConsoleProgress(progress))
    require_space({stack.home.home: STATE_SPACE})
    with progress.measured("configured"):
        _configure(stack)
    public = supervisor_environment(stack, java_home=java_home, inherited=environment)
    supervisor = Supervisor(stack.layout)
    with ExitStack() as undo:
        undo.callback(_stop_after_failure, stack, progress)
        pid = supervisor.start(process_files(stack), public, holding=lock.fileno())
        lock.tell(Use.STACK, pid)
        processes = wait_until_healthy(supervisor, stack.layout, progress.reached)
        undo.pop_all()
    return processes


def _join(stack: Stack, progress: Progress) -> list[ProcessState]:
    supervisor = Supervisor(stack.layout)
    if not supervisor.answers():
        left = len(members(stack.layout.home))
        raise PlatformError(
            f"the platform's supervisor is gone and {left} of its processes still run: "
            "stop them with `make down`, then start again"
        )
    _require_mode(stack, {process.name for process in supervisor.processes() or ()})
    progress.say("the platform already runs")
    return wait_until_healthy(supervisor, stack.layout, progress.reached)


def _require_mode(stack: Stack, running: set[str]) -> None:
    """A cluster cannot be put below a server that runs; who asks for none takes what there is."""
    if stack.spark == SparkMode.CLUSTER and MASTER not in running:
        raise PlatformError(
            "the platform already runs, with one Spark server: `make down` first, then "
            "`make up SPARK=cluster`"
        )


def require_free_ports(stack: Stack) -> None:
    """Raise PlatformError that names every port that is in use, and by whom."""
    taken = []
    for port in Port:
        try:
            require_free(stack.port(port), port.name.lower().replace("_", "-"))
        except PlatformError as error:
            taken.append(str(error))
    if taken:
        raise PlatformError("\n".join(taken))


def _configure(stack: Stack) -> None:
    """Make the directories and write what each process is to know."""
    os.umask(0o077)
    layout = stack.layout
    for directory in (layout.home, layout.dagster, layout.temporary, layout.log("x").parent):
        make_private(directory)
    set_aside_large_logs(layout)
    link(layout.dagster / "dagster.yaml", PROJECT_ROOT / "dagster.yaml")
    write_environments(stack)


def _end_orphans(stack: Stack, progress: Progress) -> None:
    """End what an earlier run left behind when its supervisor was killed."""
    orphans = members(stack.layout.home)
    if orphans:
        ended = end(orphans, _GRACE_SECONDS)
        progress.say(f"ended {ended} processes of an earlier run without supervisor")


def _stop_after_failure(stack: Stack, progress: Progress) -> None:
    ignore_signals()
    progress.say("stopping what was started")
    stop(stack)
