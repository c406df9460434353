"""Readiness: when a process is healthy, and when waiting for it has become pointless."""

import pytest

from diabetes_platform.local.readiness import without_hope
from diabetes_platform.local.supervisor import ProcessState


def process(name: str = "kafka", **changes: object) -> ProcessState:
    values: dict[str, object] = {
        "name": name,
        "status": "Running",
        "running": True,
        "ready": True,
        "probed": True,
        "pid": 7,
        "restarts": 0,
        "exit_code": 0,
    }
    return ProcessState(**{**values, **changes})  # type: ignore[arg-type]


ENDED = {"status": "Completed", "running": False, "ready": False, "probed": False}


@pytest.mark.parametrize(
    ("state", "healthy"),
    [
        (process(), True),
        (process(ready=False), False),
        (process(ready=False, probed=False), True),
        (process(running=False, ready=False, status="Restarting"), False),
        (process("topics-setup", ready=False, probed=False), False),
        (process("topics-setup", **ENDED), True),
        (process("topics-setup", **ENDED, exit_code=1), False),
    ],
)
def test_healthy_is_serving_or_done(state: ProcessState, healthy: bool) -> None:
    assert state.healthy is healthy


@pytest.mark.parametrize(
    ("states", "named"),
    [
        ([process(), process("minio", ready=False)], None),
        ([process(), process("topics-setup", **ENDED, exit_code=1)], "topics-setup"),
        ([process(restarts=5, ready=False)], "kafka"),
        ([process(restarts=9)], None),
        ([process(**{**ENDED, "probed": True})], "kafka"),
        (
            [
                process("connect", running=False, ready=False, status="Skipped"),
                process("topics-setup", **ENDED, exit_code=1),
            ],
            "topics-setup",
        ),
    ],
)
def test_the_process_that_keeps_the_others_waiting_is_named(
    states: list[ProcessState], named: str | None
) -> None:
    assert without_hope(states) == named
