"""The real supervisor with small processes: start, restart, ordered stop, orphans."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.commands.down import stop
from diabetes_platform.local.commands.up import end_unsupervised
from diabetes_platform.local.console import Progress
from diabetes_platform.local.locks import HomeUse, home_holder, lock_home
from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.data import running_server
from diabetes_platform.local.postgres.server import CONFIG_FILE
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervised import SUPERVISED, is_alive, memory, supervised_processes
from diabetes_platform.local.supervisor import ProcessState, Supervisor, socket_path
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.services import stop_process

pytestmark = pytest.mark.integration

COMPOSE = """
version: "0.5"
processes:
  once-setup:
    command: "echo done"
  sleeper:
    command: "exec sleep 600"
    depends_on: {{once-setup: {{condition: process_completed_successfully}}}}
    availability: {{restart: always, backoff_seconds: 1}}
{processes}
"""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(PlatformSettings(home=tmp_path))
    yield stack
    stop(stack)


def start(stack: Stack, processes: str = "") -> Supervisor:
    """Start it as `diabetes up` does: it keeps the lock when the command has ended."""
    file = stack.base_settings.home / "compose.yaml"
    file.write_text(COMPOSE.format(processes=processes), encoding="utf-8")
    stack.layout.home.mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor(stack.layout)
    environment = {**os.environ, SUPERVISED: str(stack.layout.home)}
    with lock_home(stack.home) as lock:
        pid = supervisor.start([file], environment, lock_descriptor=lock.fileno())
        lock.announce(HomeUse.STACK, pid)
    return supervisor


def healthy(supervisor: Supervisor) -> dict[str, ProcessState]:
    reported: list[str] = []
    states = supervisor.wait_until_healthy(reported.append, seconds=20)
    assert sorted(reported) == sorted(state.name for state in states)
    return {state.name: state for state in states}


def test_holds_the_home_until_the_platform_is_stopped(stack: Stack) -> None:
    supervisor = start(stack)
    healthy(supervisor)
    lock_holder = home_holder(stack.home)
    assert lock_holder is not None
    assert lock_holder.use == HomeUse.STACK
    assert stop(stack) == 2
    assert home_holder(stack.home) is None
    assert supervised_processes(stack.layout.home) == []
    assert supervisor.processes() is None


def test_restarts_a_killed_process(stack: Stack) -> None:
    supervisor = start(stack)
    killed = healthy(supervisor)["sleeper"]
    assert memory(killed.pid) > 0
    os.kill(killed.pid, signal.SIGKILL)
    wait_until(lambda: any(state.restarts for state in supervisor.processes() or ()), timeout=15)
    restarted = healthy(supervisor)["sleeper"]
    assert restarted.pid != killed.pid
    assert restarted.restarts == 1


def test_stops_processes_that_lost_their_supervisor(stack: Stack) -> None:
    sleeper = healthy(start(stack))["sleeper"]
    lock_holder = home_holder(stack.home)
    assert lock_holder is not None
    os.kill(int(lock_holder.pid), signal.SIGKILL)
    wait_until(
        lambda: (
            [process.pid for process in supervised_processes(stack.layout.home)] == [sleeper.pid]
        ),
        timeout=15,
    )
    # The orphan still holds the lock.
    assert home_holder(stack.home) is not None
    assert stop(stack) == 1
    assert home_holder(stack.home) is None


POSTGRES = """
  postgres:
    command: >-
      exec "{python}" -m diabetes_platform.local.postgres.serve --data-dir "{data}"
      --listen 127.0.0.1 --port {port} --config "{config}"
    environment: [POSTGRES_PASSWORD=secret]
"""


@pytest.mark.parametrize("server_is_killed", [False, True])
def test_a_start_without_the_supervisor_stops_everything_that_it_left_behind(
    stack: Stack, *, server_is_killed: bool
) -> None:
    data = stack.layout.postgres
    postgres = POSTGRES.format(
        python=sys.executable, data=data, port=free_port(), config=CONFIG_FILE
    )
    healthy(start(stack, postgres))
    server = wait_until(lambda: running_server(data), timeout=30)
    assert server is not None
    lock_holder = home_holder(stack.home)
    assert lock_holder is not None
    supervisor = psutil.Process(int(lock_holder.pid))
    supervisor.kill()
    wait_until(lambda: not is_alive(supervisor), timeout=15)
    if server_is_killed:
        os.kill(server.pid, signal.SIGKILL)
    # PostgreSQL's environment has no mark, and it holds the lock too.
    assert home_holder(stack.home) is not None
    output = StringIO()
    with Progress(Console(file=output), time.perf_counter()) as progress:
        end_unsupervised(stack, progress)
        assert home_holder(stack.home) is None
        assert running_server(data) is None
        assert not (data / "postmaster.pid").exists()
        assert supervised_processes(stack.layout.home) == []
        end_unsupervised(stack, progress)
    assert output.getvalue().count("the supervisor has ended") == 1
    assert "sleeper" in healthy(start(stack))


def test_a_start_replaces_a_supervisor_that_does_not_answer(stack: Stack) -> None:
    healthy(start(stack))
    lock_holder = home_holder(stack.home)
    assert lock_holder is not None
    psutil.Process(int(lock_holder.pid)).suspend()
    with Progress(Console(file=StringIO()), time.perf_counter()) as progress:
        end_unsupervised(stack, progress)
    wait_until(lambda: not supervised_processes(stack.layout.home), timeout=15)
    assert "sleeper" in healthy(start(stack))


def test_a_start_beside_the_running_supervisor_stops_nothing(stack: Stack) -> None:
    sleeper = healthy(start(stack))["sleeper"]
    with Progress(Console(file=StringIO()), time.perf_counter()) as progress:
        end_unsupervised(stack, progress)
    assert sleeper.pid in {process.pid for process in supervised_processes(stack.layout.home)}


def test_processes_that_have_ended_start_again_and_the_others_go_on(stack: Stack) -> None:
    runs = stack.base_settings.home / "runs"
    counted = f"""
  counted-setup:
    command: "echo run >>{runs}"
  ended:
    command: "echo run >>{runs}; exec sleep 600"
"""
    supervisor = start(stack, counted)
    initial = healthy(supervisor)
    supervisor.start_ended(["counted-setup", "sleeper", "once-setup"])
    assert runs.read_text().splitlines() == ["run"] * 3
    os.kill(initial["ended"].pid, signal.SIGKILL)
    wait_until(lambda: supervisor.process("ended").status == "Completed", timeout=15)  # type: ignore[union-attr]
    supervisor.start_ended(["ended"])
    current = healthy(supervisor)
    assert current["sleeper"].pid == initial["sleeper"].pid
    assert current["ended"].pid != initial["ended"].pid


def test_a_process_that_an_operator_stopped_starts_again(stack: Stack) -> None:
    supervisor = start(stack)
    initial = healthy(supervisor)
    stop_process(stack, "sleeper")
    supervisor.start_ended(["once-setup", "sleeper"])
    assert healthy(supervisor)["sleeper"].pid != initial["sleeper"].pid


def test_names_a_set_up_that_fails_when_it_runs_again_with_its_last_line(stack: Stack) -> None:
    fails, log = stack.base_settings.home / "fails", stack.layout.log("fragile-setup")
    fragile = f"""
  fragile-setup:
    command: "test ! -e {fails} || {{ echo the disk is full; exit 3; }}"
    log_location: {log}
"""
    supervisor = start(stack, fragile)
    healthy(supervisor)
    fails.touch()
    with pytest.raises(PlatformError, match=r"fragile-setup failed: .*the disk is full"):
        supervisor.start_ended(["fragile-setup"])
    fails.unlink()
    supervisor.start_ended(["fragile-setup"])
    healthy(supervisor)


def test_names_a_process_that_fails_again_and_again_with_its_last_line(stack: Stack) -> None:
    log = stack.layout.log("broken-setup")
    broken = f"""
  broken-setup:
    command: "echo the disk is full; exit 3"
    log_location: {log}
"""
    supervisor = start(stack, broken)
    with pytest.raises(PlatformError, match=r"broken-setup does not start: .*the disk is full"):
        healthy(supervisor)


def test_reports_an_invalid_process_file_at_once(stack: Stack) -> None:
    with pytest.raises(PlatformError, match="the supervisor ended at once"):
        start(stack, "  wrong: [1, 2")
    assert supervised_processes(stack.layout.home) == []


def test_a_deep_home_gets_a_short_socket_path(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a" * 40] * 3)
    assert len(str(socket_path(deep))) <= 103
    assert socket_path(deep) != socket_path(deep / "other")
