"""Peak memory and CPU time of processes, from Linux's /proc; NaN on a system that has none."""

import math
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_PROC = Path("/proc")
_SAMPLE_SECONDS = 0.25
_MIB = 1024


def reset_peaks(pids: Iterable[int]) -> None:
    """Reset the kernel's record of the peak resident size of each process."""
    for pid in pids:
        record = _PROC / str(pid) / "clear_refs"
        if record.exists():
            record.write_text("5")


def peak_mib(pids: Iterable[int]) -> float:
    """Return the sum of the largest resident sizes since the last reset."""
    return sum(_kib(_PROC / str(pid) / "status", "VmHWM") for pid in pids) / _MIB


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time that the processes have used: it knows no load but its own."""
    return sum(map(_cpu_seconds, pids))


def children(pid: int) -> list[int]:
    """Return the processes that the threads of a process have started and that still run."""
    started = []
    for listing in (_PROC / str(pid) / "task").glob("*/children"):
        # A thread may end between being listed and being read.
        with suppress(FileNotFoundError, ProcessLookupError):
            started += [int(child) for child in listing.read_text(encoding="ascii").split()]
    return started


class Sampler:
    """The largest sum of a process's and its children's share of memory while it is entered.

    Shares (PSS), because PostgreSQL's processes map the same buffers.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_mib = 0.0 if _PROC.exists() else math.nan

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            pids = [self._pid, *children(self._pid)]
            shares = sum(_kib(_PROC / str(pid) / "smaps_rollup", "Pss") for pid in pids)
            self.peak_mib = max(self.peak_mib, shares / _MIB)


def _cpu_seconds(pid: int) -> float:
    if not _PROC.exists():
        return math.nan
    stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8")
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _kib(file: Path, name: str) -> float:
    if not _PROC.exists():
        return math.nan
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        # A child that ended between being listed and being read holds nothing.
        return 0.0
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0.0)
