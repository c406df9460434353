"""`diabetes down`: stop the platform."""

import contextlib
import time

from rich.console import Console

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.locks import HomeUse, home_holder
from diabetes_platform.local.postgres.data import release_stale_pid_file
from diabetes_platform.local.signals import ignore_signals
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervised import is_alive, supervised_processes, terminate
from diabetes_platform.local.supervisor import Supervisor
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PlatformSettings

DOWN_SECONDS = 12.0
_GRACE_SECONDS = 2.0


def down(settings: PlatformSettings, console: Console) -> None:
    """Stop the platform; raises PlatformError if another command holds the home."""
    started = time.perf_counter()
    stack = Stack(settings)
    current = home_holder(stack.home)
    if current is not None and current.use != HomeUse.STACK:
        raise PlatformError(
            f"another command is running in {stack.home.home} (pid {current.pid}): "
            "end it with Ctrl-C there"
        )
    ignore_signals()
    stopped = stop(stack)
    if not stopped:
        console.print("The platform is not running.")
        return
    seconds = time.perf_counter() - started
    console.print(f"Stopped {stopped} processes ({seconds:.1f} s). The data are kept.")


def stop(stack: Stack) -> int:
    """Stop every process of the platform and return their number.

    The supervisor stops them in reverse order of their dependencies. Processes that still run after
    DOWN_SECONDS, or that have lost their supervisor, are terminated. Raises PlatformError if
    sessions of a killed PostgreSQL do not end.
    """
    state = stack.layout.home
    processes = supervised_processes(state)
    supervisor = Supervisor(stack.layout)
    if not supervisor.answers():
        terminate(processes, DOWN_SECONDS)
    else:
        supervisor.shut_down()
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not any(map(is_alive, processes)), timeout=DOWN_SECONDS)
    terminate(supervised_processes(state), _GRACE_SECONDS)
    release_stale_pid_file(stack.layout.postgres)
    supervisor.socket.unlink(missing_ok=True)
    return len(processes)
