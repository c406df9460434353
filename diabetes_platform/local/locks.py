"""Locks of a home directory: one platform and one batch at a time.

The kernel releases a lock when its holder ends.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.home import HomeLayout, make_private


class HomeUse(StrEnum):
    """How the holder of a home uses it."""

    ALONE = "alone"
    """It starts or stops PostgreSQL, or runs it for one command."""
    SHARED = "shared"
    """The demo runs: other commands may use its PostgreSQL."""
    STACK = "stack"
    """The platform runs under its supervisor: other commands may use its services."""


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The holder of a lock, as written in the lock file; `pid` is for people."""

    pid: str
    use: HomeUse


class BusyError(PlatformError):
    """Another process holds the lock."""

    def __init__(self, message: str, holder: LockHolder) -> None:
        super().__init__(message)
        self.holder = holder


class HomeLock:
    """A lock that this process holds; the lock file shows others how it uses the home."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.announce(HomeUse.ALONE)

    def announce(self, use: HomeUse, pid: int | None = None) -> None:
        """Write the use to the lock file, and `pid`, by default that of this process."""
        self._file.truncate(0)
        self._file.write(f"{pid or os.getpid()} {use}")
        self._file.flush()

    def fileno(self) -> int:
        """Return the descriptor with which a child process keeps the lock."""
        return self._file.fileno()


@contextmanager
def lock_home(layout: HomeLayout) -> Iterator[HomeLock]:
    """Hold the lock of the home; raises BusyError if another process holds it."""
    make_private(layout.home)
    with _lock(layout.running_lock, lambda holder: _busy_message(layout.home, holder)) as lock:
        shutil.rmtree(layout.temporary, ignore_errors=True)
        yield lock


@contextmanager
def lock_batch(layout: HomeLayout) -> Iterator[None]:
    """Hold the lock for changes of the tables; raises BusyError if another command holds it."""

    def message(holder: LockHolder) -> str:
        return (
            f"another batch or rollback is running in {layout.home} (pid {holder.pid}): wait until "
            "it has ended and try again"
        )

    with _lock(layout.batch_lock, message):
        yield


def home_holder(layout: HomeLayout) -> LockHolder | None:
    """Return the process that holds the lock of the home, if any."""
    if not layout.running_lock.exists():
        return None
    with layout.running_lock.open(encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return parse_holder(file.read())
    return None


def parse_holder(text: str) -> LockHolder:
    """Parse a lock file; a file that is still being written means ALONE."""
    pid, _, use = text.strip().partition(" ")
    return LockHolder(pid or "unknown", HomeUse(use) if use in set(HomeUse) else HomeUse.ALONE)


@contextmanager
def _lock(path: Path, busy_message: Callable[[LockHolder], str]) -> Iterator[HomeLock]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = parse_holder(file.read())
            raise BusyError(busy_message(holder), holder) from None
        yield HomeLock(file)


def _busy_message(home: Path, holder: LockHolder) -> str:
    if holder.use != HomeUse.ALONE:
        return (
            f"the platform already runs in {home} (pid {holder.pid}): stop it first, or start this "
            "one with another PLATFORM_HOME and PLATFORM_PORT_OFFSET"
        )
    return (
        f"another command is running in {home} (pid {holder.pid}): "
        "wait until it has ended and try again"
    )
