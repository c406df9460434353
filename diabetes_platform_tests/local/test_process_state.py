"""The states of processes: when a process is healthy, and when it has failed for good."""

import pytest

from diabetes_platform.local.supervisor import ProcessState, failed_process


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
def test_a_process_is_healthy_when_ready_or_completed(state: ProcessState, healthy: bool) -> None:
    assert state.healthy is healthy


@pytest.mark.parametrize(
    ("states", "failed"),
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
def test_names_the_process_that_others_wait_for(
    states: list[ProcessState], failed: str | None
) -> None:
    assert failed_process(states) == failed
