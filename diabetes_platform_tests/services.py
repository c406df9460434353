"""What tests ask of the running platform: until something holds, and what does not work."""

import time
from collections.abc import Callable
from contextlib import suppress

import httpx
import pytest
from confluent_kafka import KafkaException

from diabetes_platform.local.connect.state import connector_of
from diabetes_platform.local.errors import TOLD
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervisor import ProcessState, Supervisor


def within(seconds: float, condition: Callable[[], object]) -> float:
    """Return the seconds until `condition` held; services may not answer in between."""
    started = time.monotonic()
    while time.monotonic() < started + seconds:
        with suppress(*TOLD, httpx.HTTPError, KafkaException):
            if condition():
                return time.monotonic() - started
        time.sleep(0.5)  # the supervisor's answer is costly
    pytest.fail(f"not within {seconds:.0f} s")


def processes(stack: Stack) -> tuple[ProcessState, ...]:
    """The platform's processes as the supervisor sees them."""
    found = Supervisor(stack.layout).processes()
    assert found is not None
    return found


def state_of(stack: Stack, name: str) -> ProcessState:
    """One of them."""
    return next(process for process in processes(stack) if process.name == name)


def ill(stack: Stack) -> list[str]:
    """What does not work: processes by their names, and the connector."""
    found = [process.name for process in processes(stack) if not process.healthy]
    return found if connector_of(stack).running else [*found, "connector"]
