"""Stopping the whole platform: in order by its supervisor, and whatever is left by force."""

import time

import psutil

from diabetes_platform.local.members import alive, end, members
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervisor import Supervisor

DOWN_SECONDS = 12.0
_GRACE_SECONDS = 2.0
_POLL_SECONDS = 0.1


def stop(stack: Stack) -> int:
    """Stop every process of the platform; return how many there were.

    Within the time the supervisor stops them in reverse order of their dependencies; what is
    still there afterwards, or has lost its supervisor, is ended one and all.
    """
    state = stack.layout.home
    before = members(state)
    supervisor = Supervisor(stack.layout)
    if supervisor.answers():
        supervisor.shut_down()
        _wait_until_gone(before, DOWN_SECONDS)
    end(members(state), _GRACE_SECONDS)
    supervisor.socket.unlink(missing_ok=True)
    return len(before)


def _wait_until_gone(processes: list[psutil.Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(map(alive, processes)):
        time.sleep(_POLL_SECONDS)
