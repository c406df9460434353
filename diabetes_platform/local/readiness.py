"""When the platform is up: waiting for each process, and what to say of one that does not come."""

import time
from collections.abc import Callable, Sequence

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.home import Layout
from diabetes_platform.local.processes import last_line
from diabetes_platform.local.supervisor import ProcessState, Supervisor

UP_SECONDS = 240.0
_TOO_MANY_RESTARTS = 5
_POLL_SECONDS = 1.0
"""To answer, the supervisor adds up a process's memory: for all, a seventh of a second of CPU."""


def wait_until_healthy(
    supervisor: Supervisor,
    layout: Layout,
    on_healthy: Callable[[str], None],
    seconds: float = UP_SECONDS,
) -> list[ProcessState]:
    """Wait until every process is healthy, telling each once; return their states.

    Raises PlatformError, naming the process, its last line and its log, where one will not come.
    """
    told: set[str] = set()
    deadline = time.monotonic() + seconds
    states = _ask(supervisor, layout)
    while True:
        for process in states.values():
            if process.healthy and process.name not in told:
                told.add(process.name)
                on_healthy(process.name)
        processes = list(states.values())
        hopeless = without_hope(processes)
        if hopeless is not None:
            raise PlatformError(f"{hopeless} does not start: {last_line(layout.log(hopeless))}")
        waited_for = [process.name for process in processes if not process.healthy]
        if waited_for:
            if time.monotonic() > deadline:
                raise PlatformError(_late(processes, seconds))
            time.sleep(_POLL_SECONDS)
            states |= _ask(supervisor, layout, waited_for)
        else:
            # One that was healthy may have ended since.
            states = _ask(supervisor, layout)
            if all(process.healthy for process in states.values()):
                return list(states.values())


def _ask(
    supervisor: Supervisor, layout: Layout, names: Sequence[str] = ()
) -> dict[str, ProcessState]:
    answers: list[ProcessState | None] = [supervisor.process(name) for name in names]
    if not names:
        answers.extend(supervisor.processes() or [None])
    states = [state for state in answers if state is not None]
    if len(states) < len(answers):
        raise PlatformError(f"the supervisor has ended: {last_line(layout.supervisor_log)}")
    return {state.name: state for state in states}


def without_hope(processes: Sequence[ProcessState]) -> str | None:
    """Return the first process that was given up, or ends again and again; None where none is."""
    for process in processes:
        ends_always = process.restarts >= _TOO_MANY_RESTARTS and not process.healthy
        # What is skipped waits for another one, which is the one to name.
        if (process.given_up and process.status != "Skipped") or ends_always:
            return process.name
    return next((process.name for process in processes if process.given_up), None)


def _late(processes: Sequence[ProcessState], seconds: float) -> str:
    missing = ", ".join(f"{p.name} ({p.status})" for p in processes if not p.healthy)
    return f"not healthy after {seconds:.0f} s: {missing}; see `diabetes logs <service>`"
