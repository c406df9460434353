"""The operating system's processes of one platform: found by their mark, measured, ended."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import psutil

SUPERVISED = "PLATFORM_SUPERVISED"
"""The variable that marks every process of a platform with its state directory."""
Gone = (psutil.NoSuchProcess, psutil.AccessDenied)


def members(state: Path) -> list[psutil.Process]:
    """Return every process that carries the mark of the platform whose data are in `state`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(*Gone, OSError):
            if process.environ().get(SUPERVISED) == str(state) and process.pid != os.getpid():
                found.append(process)
    return found


def alive(process: psutil.Process) -> bool:
    """Whether a process still does anything; one that ended may wait for its parent to ask."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(processes: Iterable[psutil.Process], grace: float) -> int:
    """Ask `processes` to end, by force after `grace` seconds; return how many there were."""
    asked = list(processes)
    for process in asked:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, left = psutil.wait_procs(asked, timeout=grace)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=grace)
    return len(asked)


def memory(pid: int) -> int:
    """Return the bytes that a process and all its children hold, shared pages by their share.

    0 for a process that is gone. Where the system does not tell shares, resident bytes.
    """
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(map(_memory, family))


def _memory(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.rss))
    except Gone:
        return 0
