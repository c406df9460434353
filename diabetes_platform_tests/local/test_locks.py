"""Locks of a home: one platform, one batch, and the message for the others."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.locks import (
    BusyError,
    HomeUse,
    home_holder,
    lock_batch,
    lock_home,
    parse_holder,
)
from diabetes_platform.settings import PROJECT_ROOT

ALONE = r"another command is running in {home} \(pid {pid}\): wait until it has ended"
SHARED = r"the platform already runs in {home} \(pid {pid}\): stop it first"


@pytest.mark.parametrize(("use", "message"), [(HomeUse.ALONE, ALONE), (HomeUse.SHARED, SHARED)])
def test_names_the_holder_to_a_second_command(tmp_path: Path, use: HomeUse, message: str) -> None:
    layout = HomeLayout(tmp_path)
    assert home_holder(layout) is None
    with lock_home(layout) as lock:
        lock.announce(use)
        assert home_holder(layout) is not None
        with (
            pytest.raises(BusyError, match=message.format(home=tmp_path, pid=os.getpid())) as busy,
            lock_home(layout),
        ):
            pytest.fail("two commands hold one home")
        assert busy.value.holder.use == use
    assert home_holder(layout) is None
    with lock_home(layout):
        pass


def test_only_one_batch_runs_at_a_time(tmp_path: Path) -> None:
    layout = HomeLayout(tmp_path)
    with (
        lock_batch(layout),
        pytest.raises(BusyError, match=rf"another batch .*\(pid {os.getpid()}\): wait") as busy,
        lock_batch(layout),
    ):
        pytest.fail("two batches at once")
    assert "\n" not in str(busy.value)
    with lock_batch(layout):
        pass


def test_a_killed_process_releases_its_lock(tmp_path: Path) -> None:
    program = (
        "import pathlib, time; from diabetes_platform.local import home, locks\n"
        f"with locks.lock_batch(home.HomeLayout(pathlib.Path({str(tmp_path)!r}))):\n"
        "    print('locked', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT_ROOT) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with (
            pytest.raises(BusyError, match=rf"\(pid {holder.pid}\)"),
            lock_batch(HomeLayout(tmp_path)),
        ):
            pytest.fail("two batches at once")
        holder.send_signal(signal.SIGKILL)
    with lock_batch(HomeLayout(tmp_path)):
        pass


@pytest.mark.parametrize(
    ("text", "pid", "use"),
    [
        ("12 shared", "12", HomeUse.SHARED),
        ("12 alone\n", "12", HomeUse.ALONE),
        ("12", "12", HomeUse.ALONE),
        ("", "unknown", HomeUse.ALONE),
    ],
)
def test_a_home_is_shared_only_if_the_lock_file_says_so(text: str, pid: str, use: HomeUse) -> None:
    holder = parse_holder(text)
    assert (holder.pid, holder.use) == (pid, use)
