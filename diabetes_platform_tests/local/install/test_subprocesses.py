"""Child processes of an installation: output, failure reasons and interruption."""

import asyncio
import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.install.subprocesses import failure_reason, run, run_interruptible
from diabetes_platform.polling import wait_until
from diabetes_platform_tests.local.install.conftest import WriteScript


def test_passes_on_and_logs_every_line(tmp_path: Path) -> None:
    lines: list[str] = []
    log = tmp_path / "logs" / "x.log"
    command = ["sh", "-c", "echo one; echo two >&2"]
    asyncio.run(run(command, step="x", log=log, environment=os.environ, on_line=lines.append))
    assert lines == ["one", "two"]
    assert log.read_text(encoding="utf-8") == "one\ntwo\n"


def test_error_names_step_program_reason_and_log(tmp_path: Path, write_script: WriteScript) -> None:
    maven = write_script(tmp_path / "mvn", "echo '[INFO] x'; echo '[ERROR] no such jar'; exit 1")
    log = tmp_path / "x.log"
    with pytest.raises(PlatformError) as caught:
        asyncio.run(run([str(maven)], step="kafka", log=log, environment={}))
    assert str(caught.value) == f"kafka: mvn failed: no such jar (log: {log})"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["[INFO] Scanning", "[ERROR] Could not resolve x", "[ERROR] "], "Could not resolve x"),
        (["Using CPython", "error: Failed to fetch", "  Caused by: dns"], "error: Failed to fetch"),
        (["a/b", "go: a/b@v1: dial tcp: timeout", ""], "go: a/b@v1: dial tcp: timeout"),
        (["a/b", "cmd/main.go:3:2: undefined: x"], "cmd/main.go:3:2: undefined: x"),
        (["one", "no space left on device", ""], "no space left on device"),
        (["", " "], "no output"),
    ],
)
def test_failure_reason_is_the_first_error_line_or_the_last_line(
    lines: list[str], expected: str
) -> None:
    assert failure_reason(lines) == expected


def test_sigint_ends_the_process_group_before_keyboard_interrupt(tmp_path: Path) -> None:
    # The grandchild ignores SIGTERM and keeps the pipe open.
    script = """sh -c 'trap "" TERM; echo $$; sleep 60' & wait"""
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.append(int(line))
        os.kill(os.getpid(), signal.SIGINT)

    command = ["sh", "-c", script]
    work = run(command, step="x", log=tmp_path / "x", environment=os.environ, on_line=interrupt)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_interruptible(work)
    assert pids
    # After SIGKILL the kernel takes a moment to end a process.
    assert [pid for pid in pids if _keeps_running(pid)] == []
    assert signal.getsignal(signal.SIGINT) is handler


def test_sigterm_raises_keyboard_interrupt() -> None:
    async def wait() -> None:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        await asyncio.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        run_interruptible(wait())


def _keeps_running(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE, timeout=5, interval=0.05)
    except psutil.NoSuchProcess:
        return False
    except TimeoutError:
        return True
    return False
