"""Child processes: each in its own process group, with its own log, ended with its parent."""

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from diabetes_platform.errors import PlatformError


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` in its own process group, its output appended to `log`.

    Call it from the main thread: the kernel sends the death signal when the *thread* that
    started the child ends.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=directory,
            start_new_session=True,
        )


def dying_with_parent(stop_signal: signal.Signals) -> tuple[str, ...]:
    """Return the command prefix with which the kernel sends `stop_signal` when the parent dies.

    Empty without setpriv of util-linux: children then survive a killed parent.
    """
    setpriv = _setpriv_with_death_signal()
    return (setpriv, "--pdeathsig", stop_signal.name) if setpriv else ()


def stop_group(process: subprocess.Popen[bytes], *, grace: float) -> None:
    """Terminate the process group, and kill it after `grace` seconds."""
    stop_groups([process], grace=grace)


def stop_groups(processes: Sequence[subprocess.Popen[bytes]], *, grace: float) -> None:
    """Terminate all process groups at the same time, and kill the rest after `grace` seconds."""
    for process in processes:
        if process.poll() is None:
            signal_group(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    for process in processes:
        signal_group(process.pid, signal.SIGKILL)
        process.wait()


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group; does nothing if it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def require_alive(process: subprocess.Popen[bytes], service: str, log: Path) -> None:
    """Raise PlatformError with the last line of the log if the process has ended."""
    if process.poll() is not None:
        raise PlatformError(f"{service} ended with code {process.returncode}: {last_line(log)}")


def last_line(log: Path) -> str:
    """Return the last line of `log` that is not empty, and the path of the log."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{lines[-1] if lines else 'no output'} (log: {log})"


@functools.cache
def _setpriv_with_death_signal() -> str | None:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return None
    # BusyBox has a setpriv without the option.
    probe = subprocess.run(
        [setpriv, "--pdeathsig", "SIGTERM", "true"], capture_output=True, check=False
    )
    return setpriv if probe.returncode == 0 else None
