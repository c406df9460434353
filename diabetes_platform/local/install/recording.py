"""Servers that run once so that the classes they load are recorded: started, awaited, ended."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.processes import require_alive, signal_group, wait_all

READY_SECONDS = 120.0
WRITING_SECONDS = 60.0
"""An archive is written when its JVM has been asked to end."""
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Recorded:
    """A server under its name for people, and where it logs."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


async def wait_until_ready(
    healthy: Callable[[], Awaitable[bool]], started: Sequence[Recorded]
) -> None:
    """Return once `healthy` says so.

    Raises PlatformError with the last line of a server that ended, or with all logs after
    `READY_SECONDS`.
    """
    deadline = time.monotonic() + READY_SECONDS
    while not await healthy():
        for server in started:
            require_alive(server.process, server.name, server.log)
        if time.monotonic() > deadline:
            names = " and ".join(server.name for server in started)
            logs = ", ".join(str(server.log) for server in started)
            raise PlatformError(f"{names}: not ready after {READY_SECONDS:.0f} s (logs: {logs})")
        await asyncio.sleep(_POLL_SECONDS)


async def end(started: Sequence[Recorded]) -> None:
    """Ask all of `started` to end, so that they write their archives, and wait for them.

    Raises PlatformError where one has not ended by itself: its archive is not complete.
    """
    for server in started:
        signal_group(server.process.pid, signal.SIGTERM)
    processes = [server.process for server in started]
    await asyncio.to_thread(wait_all, processes, WRITING_SECONDS)
    for server in started:
        if server.process.poll() is None:
            raise _no_archive(server.name, server.log)


def require_archive(archive: Path, name: str, log: Path) -> None:
    """Raise PlatformError where the program `name`, which logs to `log`, has left no `archive`."""
    if not archive.exists():
        raise _no_archive(name, log)


def _no_archive(name: str, log: Path) -> PlatformError:
    return PlatformError(f"{name} left no archive of its classes (log: {log})")
