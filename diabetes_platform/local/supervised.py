"""The operating-system processes of a supervised platform: find, measure, terminate."""

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import psutil

from diabetes_platform.local.postgres.data import PROCESS, running_server

SUPERVISED = "PLATFORM_SUPERVISED"
"""The variable that marks every process of a platform with its state directory."""
_Gone = (psutil.NoSuchProcess, psutil.AccessDenied)


def supervised_processes(state_directory: Path) -> list[psutil.Process]:
    """Return the processes of the platform whose data are in `state_directory`.

    PostgreSQL's environment has no mark, so its server is found by its pid file. Its sessions end
    with it.
    """
    server = running_server(state_directory / "postgres")
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(*_Gone, OSError):
            is_server = server is not None and process.pid == server.pid
            marked = is_server or process.environ().get(SUPERVISED) == str(state_directory)
            if marked and process.pid != os.getpid():
                processes.append(process)
    return processes


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie, whose parent has not waited for it, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def terminate(processes: Iterable[psutil.Process], grace: float) -> int:
    """Terminate `processes`, kill the rest after `grace` seconds, and return their number."""
    running = list(processes)
    for process in running:
        with contextlib.suppress(*_Gone):
            # After SIGTERM, PostgreSQL would wait for its sessions.
            is_postgres = process.name() == PROCESS
            process.send_signal(signal.SIGINT if is_postgres else signal.SIGTERM)
    _, survivors = psutil.wait_procs(running, timeout=grace)
    for process in survivors:
        with contextlib.suppress(*_Gone):
            process.kill()
    psutil.wait_procs(survivors, timeout=grace)
    return len(running)


def memory(pid: int) -> int:
    """Return the bytes of memory of a process and its children; 0 if it has ended.

    Shared pages count by their share (PSS), or in full (RSS) if the system does not report shares.
    """
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(map(_memory, tree))


def _memory(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.rss))
    except _Gone:
        return 0
