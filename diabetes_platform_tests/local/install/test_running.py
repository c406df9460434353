"""Installers as child processes: what they say, why they failed, and that none outlives us."""

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.install.running import reason, run, run_interruptible
from diabetes_platform_tests.local.install.conftest import Program


def test_each_line_is_handed_on_and_logged(tmp_path: Path) -> None:
    lines: list[str] = []
    log = tmp_path / "logs" / "x.log"
    command = ["sh", "-c", "echo one; echo two >&2"]
    asyncio.run(run(command, part="x", log=log, environment=os.environ, on_line=lines.append))
    assert lines == ["one", "two"]
    assert log.read_text(encoding="utf-8") == "one\ntwo\n"


def test_a_failure_names_the_part_the_program_the_reason_and_the_log(
    tmp_path: Path, program: Program
) -> None:
    maven = program(tmp_path / "mvn", "echo '[INFO] x'; echo '[ERROR] no such jar'; exit 1")
    log = tmp_path / "x.log"
    with pytest.raises(PlatformError) as caught:
        asyncio.run(run([str(maven)], part="kafka", log=log, environment={}))
    assert str(caught.value) == f"kafka: mvn failed: no such jar (log: {log})"


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["[INFO] Scanning", "[ERROR] Could not resolve x", "[ERROR] "], "Could not resolve x"),
        (["Using CPython", "error: Failed to fetch", "  Caused by: dns"], "error: Failed to fetch"),
        (["a/b", "go: a/b@v1: dial tcp: timeout", ""], "go: a/b@v1: dial tcp: timeout"),
        (["a/b", "cmd/main.go:3:2: undefined: x"], "cmd/main.go:3:2: undefined: x"),
        (["one", "no space left on device", ""], "no space left on device"),
        (["", " "], "it said nothing"),
    ],
)
def test_the_reason_is_the_line_that_says_why(lines: list[str], why: str) -> None:
    assert reason(lines) == why


def test_an_interrupt_ends_the_whole_group_before_it_is_raised(tmp_path: Path) -> None:
    # The grandchild does not care for SIGTERM, and holds the pipe.
    script = """sh -c 'trap "" TERM; echo $$; sleep 60' & wait"""
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.append(int(line))
        os.kill(os.getpid(), signal.SIGINT)

    command = ["sh", "-c", script]
    work = run(command, part="x", log=tmp_path / "x", environment=os.environ, on_line=interrupt)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_interruptible(work)
    assert pids
    # The kernel takes a moment between a signal that nobody can ignore and the end.
    assert [pid for pid in pids if _runs_on(pid)] == []
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_interrupts_too() -> None:
    async def wait() -> None:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        await asyncio.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        run_interruptible(wait())


def _runs_on(pid: int, seconds: float = 5.0) -> bool:
    try:
        process = psutil.Process(pid)
        deadline = time.monotonic() + seconds
        while process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return True
            time.sleep(0.05)
    except psutil.NoSuchProcess:
        return False
    return False
