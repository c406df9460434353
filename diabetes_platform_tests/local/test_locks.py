"""One home, one launcher, one batch: who holds it, and what the others are told."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from diabetes_platform.local.home import Layout
from diabetes_platform.local.locks import (
    BusyError,
    Use,
    exclusive,
    is_running,
    one_batch,
    parse_holder,
)
from diabetes_platform.settings import PROJECT_ROOT

ALONE = r"another command is running in {home} \(pid {pid}\): wait until it has ended"
SHARED = r"the platform already runs in {home} \(pid {pid}\): stop it first"


@pytest.mark.parametrize(("use", "told"), [(Use.ALONE, ALONE), (Use.SHARED, SHARED)])
def test_a_second_launcher_is_told_who_holds_the_home(tmp_path: Path, use: Use, told: str) -> None:
    layout = Layout(tmp_path)
    assert not is_running(layout)
    with exclusive(layout) as lock:
        lock.tell(use)
        assert is_running(layout)
        with (
            pytest.raises(BusyError, match=told.format(home=tmp_path, pid=os.getpid())) as busy,
            exclusive(layout),
        ):
            pytest.fail("two launchers in one home")
        assert busy.value.holder.use == use
    assert not is_running(layout)
    with exclusive(layout):
        pass


def test_only_one_batch_runs_at_a_time(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with (
        one_batch(layout),
        pytest.raises(BusyError, match=rf"another batch .*\(pid {os.getpid()}\): wait") as busy,
        one_batch(layout),
    ):
        pytest.fail("two batches at once")
    assert "\n" not in str(busy.value)
    with one_batch(layout):
        pass


def test_the_lock_goes_with_a_killed_process(tmp_path: Path) -> None:
    program = (
        "import pathlib, time; from diabetes_platform.local import home, locks\n"
        f"with locks.one_batch(home.Layout(pathlib.Path({str(tmp_path)!r}))):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT_ROOT) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with (
            pytest.raises(BusyError, match=rf"\(pid {holder.pid}\)"),
            one_batch(Layout(tmp_path)),
        ):
            pytest.fail("two batches at once")
        holder.send_signal(signal.SIGKILL)
    with one_batch(Layout(tmp_path)):
        pass


@pytest.mark.parametrize(
    ("text", "pid", "use"),
    [
        ("12 shared", "12", Use.SHARED),
        ("12 alone\n", "12", Use.ALONE),
        ("12", "12", Use.ALONE),
        ("", "unknown", Use.ALONE),
    ],
)
def test_nobody_joins_unless_the_file_says_so(text: str, pid: str, use: Use) -> None:
    holder = parse_holder(text)
    assert (holder.pid, holder.use) == (pid, use)
