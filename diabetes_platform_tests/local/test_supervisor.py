"""The supervisor for real, with small processes: start, restart, orderly stop, orphans."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diabetes_platform.local.commands.down import stop
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.locks import Use, exclusive, holder
from diabetes_platform.local.readiness import wait_until_healthy
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervised import SUPERVISED, members, memory
from diabetes_platform.local.supervisor import ProcessState, Supervisor, socket_path
from diabetes_platform.settings import PlatformSettings

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
{more}
"""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(PlatformSettings(home=tmp_path))
    yield made
    stop(made)


def start(stack: Stack, more: str = "") -> Supervisor:
    """Start it as `diabetes up` does: the lock stays held when the command has ended."""
    file = stack.base_settings.home / "compose.yaml"
    file.write_text(COMPOSE.format(more=more), encoding="utf-8")
    stack.layout.home.mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor(stack.layout)
    environment = {**os.environ, SUPERVISED: str(stack.layout.home)}
    with exclusive(stack.home) as lock:
        pid = supervisor.start([file], environment, holding=lock.fileno())
        lock.tell(Use.STACK, pid)
    return supervisor


def healthy(supervisor: Supervisor, stack: Stack) -> dict[str, ProcessState]:
    told: list[str] = []
    states = wait_until_healthy(supervisor, stack.layout, told.append, seconds=20)
    assert sorted(told) == sorted(state.name for state in states)
    return {state.name: state for state in states}


def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_home_stays_held_until_the_platform_is_stopped(stack: Stack) -> None:
    supervisor = start(stack)
    healthy(supervisor, stack)
    now = holder(stack.home)
    assert now is not None
    assert now.use == Use.STACK
    assert stop(stack) == 2
    assert holder(stack.home) is None
    assert members(stack.layout.home) == []
    assert supervisor.processes() is None


def test_a_killed_process_is_started_again(stack: Stack) -> None:
    supervisor = start(stack)
    before = healthy(supervisor, stack)["sleeper"]
    assert memory(before.pid) > 0
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: any(state.restarts for state in supervisor.processes() or ()))
    after = healthy(supervisor, stack)["sleeper"]
    assert after.pid != before.pid
    assert after.restarts == 1


def test_processes_without_their_supervisor_are_found_and_ended(stack: Stack) -> None:
    sleeper = healthy(start(stack), stack)["sleeper"]
    now = holder(stack.home)
    assert now is not None
    os.kill(int(now.pid), signal.SIGKILL)
    until(lambda: [process.pid for process in members(stack.layout.home)] == [sleeper.pid])
    # What still holds the lock is the orphan itself.
    assert holder(stack.home) is not None
    assert stop(stack) == 1
    assert holder(stack.home) is None


def test_a_process_that_ends_again_and_again_is_named_with_its_last_words(stack: Stack) -> None:
    log = stack.layout.log("broken-setup")
    broken = f"""
  broken-setup:
    command: "echo the disk is full; exit 3"
    log_location: {log}
"""
    supervisor = start(stack, broken)
    with pytest.raises(PlatformError, match=r"broken-setup does not start: .*the disk is full"):
        healthy(supervisor, stack)


def test_a_file_that_is_none_of_its_own_is_said_at_once(stack: Stack) -> None:
    with pytest.raises(PlatformError, match="the supervisor ended at once"):
        start(stack, "  wrong: [1, 2")
    assert members(stack.layout.home) == []


def test_a_deep_home_listens_where_the_path_is_short_enough(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a" * 40] * 3)
    assert len(str(socket_path(deep))) <= 103
    assert socket_path(deep) != socket_path(deep / "other")
