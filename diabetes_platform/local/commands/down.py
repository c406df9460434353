"""What the short commands on the whole platform do."""

import time

from rich.console import Console

from diabetes_platform.local.commands.stop import stop
from diabetes_platform.local.errors import LauncherError
from diabetes_platform.local.locks import Use, holder
from diabetes_platform.local.signals import ignore_signals
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import PlatformSettings


def down(settings: PlatformSettings, console: Console) -> None:
    """Stop the whole platform; raises LauncherError where the home is another command's."""
    started = time.perf_counter()
    stack = Stack(settings)
    now = holder(stack.home)
    if now is not None and now.use != Use.STACK:
        raise LauncherError(
            f"another command is running in {stack.home.home} (pid {now.pid}): "
            "end it with Ctrl-C there"
        )
    ignore_signals()
    stopped = stop(stack)
    if not stopped:
        console.print("The platform does not run.")
        return
    seconds = time.perf_counter() - started
    console.print(f"Stopped {stopped} processes ({seconds:.1f} s). The data stay.")
