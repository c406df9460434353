"""Child processes: their log, their end, and the end of their parent."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.local import supervised
from diabetes_platform.local.processes import (
    last_line,
    require_alive,
    signal_group,
    spawn,
    stop_group,
    stop_groups,
)
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PROJECT_ROOT

STUBBORN = "trap '' TERM; echo trapped; sleep 60 & wait; wait"


def is_alive(pid: int) -> bool:
    try:
        return supervised.is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def wait_for_end(pid: int) -> None:
    wait_until(lambda: not is_alive(pid), timeout=5, interval=0.02)


def wait_for_output(log: Path) -> None:
    wait_until(lambda: log.read_text().strip(), timeout=5, interval=0.01)


def test_appends_stdout_and_stderr_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "service.log"
    for word in ("one", "two"):
        spawn(["sh", "-c", f"echo {word}; echo {word} >&2"], log=log).wait()
    assert log.read_text().split() == ["one", "one", "two", "two"]


def test_stopping_a_group_ends_grandchildren(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = spawn(["sh", "-c", "sleep 60 & echo $!; wait"], log=log)
    wait_for_output(log)
    stop_group(process, grace=5)
    assert process.returncode == -signal.SIGTERM
    wait_for_end(int(log.read_text()))


def test_a_child_of_a_background_process_ends_on_sigterm(tmp_path: Path) -> None:
    """A shell makes background jobs ignore SIGINT, and Dagster copies that to SIGTERM."""
    program = (
        "import pathlib, signal\n"
        "from diabetes_platform.local.processes import spawn, stop_group\n"
        "from diabetes_platform.local.signals import restore_sigint\n"
        "restore_sigint()\n"
        "signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # as Dagster does\n"
        f"child = spawn(['sleep', '60'], log=pathlib.Path({str(tmp_path / 'log')!r}))\n"
        "stop_group(child, grace=20)\n"
        "print(child.returncode)\n"
    )
    command = ["sh", "-c", 'trap "" INT; exec "$0" -c "$1"', sys.executable, program]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT_ROOT)
    assert result.stdout.strip() == str(-signal.SIGTERM)


def test_kills_a_process_that_ignores_sigterm(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = spawn(["sh", "-c", STUBBORN], log=log)
    wait_for_output(log)
    stop_group(process, grace=0.2)
    assert process.returncode == -signal.SIGKILL


def test_signalling_an_ended_group_does_nothing(tmp_path: Path) -> None:
    process = spawn(["true"], log=tmp_path / "log")
    process.wait()
    signal_group(process.pid, signal.SIGTERM)


def test_one_grace_period_is_for_all_processes(tmp_path: Path) -> None:
    logs = [tmp_path / name for name in ("a", "b", "c")]
    processes = [spawn(["sh", "-c", STUBBORN], log=log) for log in logs]
    for log in logs:
        wait_for_output(log)
    started = time.monotonic()
    stop_groups(processes, grace=1)
    assert 1 <= time.monotonic() - started < 2.8
    assert [process.returncode for process in processes] == [-signal.SIGKILL] * 3


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = (
        "import signal, pathlib, sys, time\n"
        "from diabetes_platform.local.processes import dying_with_parent, spawn\n"
        "child = spawn([*dying_with_parent(signal.SIGTERM), 'sleep', '60'],"
        f" log=pathlib.Path({str(tmp_path / 'log')!r}))\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.3)
        assert is_alive(child)
        parent.kill()
    wait_for_end(child)


def test_reports_an_ended_process_with_the_last_line_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    process = spawn(["sh", "-c", "echo starting; echo no such model; exit 3"], log=log)
    process.wait()
    with pytest.raises(PlatformError, match=r"api ended with code 3: no such model \(log: .*api"):
        require_alive(process, "api", log)


def test_a_missing_log_has_no_output(tmp_path: Path) -> None:
    assert last_line(tmp_path / "none").startswith("no output")
