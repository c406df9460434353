"""`diabetes up`: install what is missing and start every service of the platform."""

import os
from contextlib import ExitStack

from rich.console import Console

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.commands.down import stop
from diabetes_platform.local.commands.logs import rotate_large_logs
from diabetes_platform.local.commands.status import status_table
from diabetes_platform.local.console import Progress, timings_table
from diabetes_platform.local.dagster.instance_config import INSTANCE_FILE, INSTANCE_NAME
from diabetes_platform.local.demo_platform import link
from diabetes_platform.local.home import make_private
from diabetes_platform.local.install.disk import GIB, require_space
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.install.plan import install
from diabetes_platform.local.install.progress import ConsoleProgress
from diabetes_platform.local.locks import BusyError, HomeLock, HomeUse, home_holder, lock_home
from diabetes_platform.local.ports import require_free
from diabetes_platform.local.service import Component
from diabetes_platform.local.services import (
    components,
    install_plan,
    process_files,
    process_order,
    supervisor_environment,
    write_environments,
)
from diabetes_platform.local.signals import ignore_signals, stoppable
from diabetes_platform.local.spark.modes import SparkMode
from diabetes_platform.local.spark.service import MASTER
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervised import supervised_processes, terminate
from diabetes_platform.local.supervisor import ProcessState, Supervisor
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PlatformSettings, Port, inherited_environment

STATE_SPACE = GIB
"""The disk space in bytes that the services need to start."""
_GRACE_SECONDS = 5.0
_RELEASE_SECONDS = 10.0
_COMPONENT_SECONDS = 60.0


def up(settings: PlatformSettings, console: Console, *, spark: SparkMode, started: float) -> None:
    """Install what is missing, start all services, and wait until they are healthy.

    If the platform already runs, create again what was deleted: processes, topics, connector,
    buckets, users, roles. If it has lost its supervisor, stop the rest and start. `started` is the
    value of `time.perf_counter` when the command began. After a failed start, raised as
    PlatformError, or an interrupt, all processes that were started are stopped.
    """
    stack = Stack(settings, spark)
    with stoppable(), Progress(console, started) as progress:
        end_unsupervised(stack, progress)
        try:
            with lock_home(stack.home) as lock:
                processes = _start(stack, lock, progress)
        except BusyError as busy:
            if busy.holder.use != HomeUse.STACK:
                raise
            processes = _join(stack, progress)
        parts = _working_components(stack)
    console.print(status_table(stack, processes, parts))
    console.print(timings_table(progress.timings, progress.elapsed))


def end_unsupervised(stack: Stack, progress: Progress) -> None:
    """Stop the processes of a platform whose supervisor has ended, and wait for their lock."""
    holder = home_holder(stack.home)
    unsupervised = holder is not None and holder.use == HomeUse.STACK
    if not unsupervised or Supervisor(stack.layout).answers():
        return
    progress.say("the supervisor has ended: stopping its processes to start them again")
    stop(stack)
    lock = stack.home.running_lock
    try:
        wait_until(lambda: home_holder(stack.home) is None, timeout=_RELEASE_SECONDS)
    except TimeoutError:
        raise PlatformError(
            f"a process of the earlier run still holds {lock}: `fuser {lock}` shows it; end it"
        ) from None


def _start(stack: Stack, lock: HomeLock, progress: Progress) -> list[ProcessState]:
    environment = inherited_environment()
    java_home = str(find_java(environment).parents[1])
    if orphans := supervised_processes(stack.layout.home):
        count = terminate(orphans, _GRACE_SECONDS)
        progress.say(f"terminated {count} processes of an earlier run without supervisor")
    require_free_ports(stack)
    install(install_plan(), stack.layout.tools, environment, ConsoleProgress(progress))
    require_space(stack.home.home, STATE_SPACE)
    with progress.measured("configured"):
        _configure(stack)
    public = supervisor_environment(stack, java_home=java_home, inherited=environment)
    supervisor = Supervisor(stack.layout)
    with ExitStack() as undo:
        undo.callback(_stop_after_failure, stack, progress)
        pid = supervisor.start(process_files(stack), public, lock_descriptor=lock.fileno())
        lock.announce(HomeUse.STACK, pid)
        processes = supervisor.wait_until_healthy(progress.reached)
        undo.pop_all()
    return processes


def _join(stack: Stack, progress: Progress) -> list[ProcessState]:
    supervisor = Supervisor(stack.layout)
    running = {process.name for process in supervisor.processes() or ()}
    if stack.spark == SparkMode.CLUSTER and MASTER not in running:
        raise PlatformError(
            "the platform already runs, with one Spark server: `make down` first, then "
            "`make up SPARK=cluster`"
        )
    progress.say("the platform already runs: creating again what was deleted")
    supervisor.start_ended(process_order(stack))
    return supervisor.wait_until_healthy(progress.reached)


def _working_components(stack: Stack) -> list[Component]:
    """Wait for connector, Flink job and predictor, and return all; PlatformError names the rest."""
    parts: list[Component] = []

    def all_work() -> bool:
        parts[:] = components(stack)
        return all(part.running for part in parts)

    try:
        wait_until(all_work, timeout=_COMPONENT_SECONDS, interval=0.5)
    except TimeoutError:
        failed = ", ".join(f"{part.name} ({part.state})" for part in parts if not part.running)
        raise PlatformError(
            f"all services run, but these do not work after {_COMPONENT_SECONDS:.0f} s: {failed}; "
            "see `diabetes doctor`"
        ) from None
    return parts


def require_free_ports(stack: Stack) -> None:
    """Raise PlatformError with every port that is in use, and its owner."""
    errors = []
    for port in Port:
        try:
            require_free(stack.port(port), port.name.lower().replace("_", "-"))
        except PlatformError as error:
            errors.append(str(error))
    if errors:
        raise PlatformError("\n".join(errors))


def _configure(stack: Stack) -> None:
    """Create the directories, and write the environment of each process."""
    os.umask(0o077)
    layout = stack.layout
    for directory in (layout.home, layout.dagster, layout.temporary, layout.log("x").parent):
        make_private(directory)
    rotate_large_logs(layout)
    link(layout.dagster / INSTANCE_NAME, INSTANCE_FILE)
    write_environments(stack)


def _stop_after_failure(stack: Stack, progress: Progress) -> None:
    ignore_signals()
    progress.say("stopping the processes that were started")
    stop(stack)
