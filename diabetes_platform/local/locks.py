"""Who may do what in one home at one time: locks that the kernel drops with their holder."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.home import Layout


class Use(StrEnum):
    """What the holder of a home does with its PostgreSQL."""

    ALONE = "alone"
    """It starts, stops, or serves one command that ends it."""
    SHARED = "shared"
    """It is ready and stays until a person stops it: other commands may join."""
    STACK = "stack"
    """The whole platform runs under its supervisor; so does who joins it."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, as its file says; `pid` is for people and may be unknown."""

    pid: str
    use: Use


class BusyError(PlatformError):
    """Another process holds the lock."""

    def __init__(self, message: str, holder: Holder) -> None:
        super().__init__(message)
        self.holder = holder


class HomeLock:
    """The lock of a home, held by this process; its file tells others what it does."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.tell(Use.ALONE)

    def tell(self, use: Use, pid: int | None = None) -> None:
        """Let others know, from now on, whether they may join; `pid` is whom to ask, else this."""
        self._file.truncate(0)
        self._file.write(f"{pid or os.getpid()} {use}")
        self._file.flush()

    def fileno(self) -> int:
        """The descriptor that a child inherits to hold the lock on when this process has ended."""
        return self._file.fileno()


@contextmanager
def exclusive(layout: Layout) -> Iterator[HomeLock]:
    """Hold the home's lock; raises BusyError where another launcher holds it."""
    make_private(layout.home)
    try:
        with _held(layout.running_lock) as file:
            shutil.rmtree(layout.temporary, ignore_errors=True)
            yield HomeLock(file)
    except _HeldByAnotherError as held:
        raise BusyError(_busy(layout.home, held.holder), held.holder) from None


@contextmanager
def one_batch(layout: Layout) -> Iterator[None]:
    """Hold the right to change the tables; raises BusyError where another command has it."""
    try:
        with _held(layout.batch_lock) as file:
            HomeLock(file)
            yield
    except _HeldByAnotherError as held:
        raise BusyError(
            f"another batch or rollback is running in {layout.home} (pid {held.holder.pid}): "
            "wait until it has ended and try again",
            held.holder,
        ) from None


def holder(layout: Layout) -> Holder | None:
    """Return who holds this home's lock, if anybody does."""
    if not layout.running_lock.exists():
        return None
    with layout.running_lock.open(encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return parse_holder(file.read())
    return None


def is_running(layout: Layout) -> bool:
    """Whether a launcher holds this home's lock."""
    return holder(layout) is not None


def make_private(directory: Path) -> None:
    """Make `directory` where it is missing, for its owner only."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def parse_holder(text: str) -> Holder:
    """Return what a lock's file says; one that is just being written says that nobody may join."""
    pid, _, use = text.strip().partition(" ")
    return Holder(pid or "unknown", Use(use) if use in set(Use) else Use.ALONE)


class _HeldByAnotherError(Exception):
    def __init__(self, holder: Holder) -> None:
        super().__init__(holder)
        self.holder = holder


@contextmanager
def _held(path: Path) -> Iterator[TextIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise _HeldByAnotherError(parse_holder(file.read())) from None
        yield file


def _busy(home: Path, holder: Holder) -> str:
    if holder.use != Use.ALONE:
        return (
            f"the platform already runs in {home} (pid {holder.pid}): stop it first, or give this "
            "one a PLATFORM_HOME and a PLATFORM_PORT_OFFSET of its own"
        )
    return (
        f"another command is running in {home} (pid {holder.pid}): "
        "wait until it has ended and try again"
    )
