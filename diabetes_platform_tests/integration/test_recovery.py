"""Every service killed in turn: it comes back by itself, and then the batch graph runs."""

import os
import signal
import time

import pytest

from diabetes_platform.local.stack import Stack
from diabetes_platform_tests.commands import command, finish
from diabetes_platform_tests.services import ill, processes, state_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

KILLED = (
    "minio",
    "postgres",
    "kafka",
    "connect",
    "spark-connect",
    "flink-jobmanager",
    "flink-taskmanager",
    "stream-job",
    "dagster-code",
    "dagster-webserver",
    "dagster-daemon",
    "api",
    "predictor",
)
RECOVERED_SECONDS = 180.0
"""On a machine that does nothing else it takes a sixth of it."""


def test_the_list_names_every_service(stack: Stack) -> None:
    assert set(KILLED) == {one.name for one in processes(stack) if not one.one_shot}


@pytest.mark.slow
@pytest.mark.parametrize("service", KILLED)
def test_a_killed_service_is_back_and_healthy(stack: Stack, service: str) -> None:
    before = state_of(stack, service)
    os.kill(before.pid, signal.SIGKILL)
    deadline = time.monotonic() + RECOVERED_SECONDS
    while state_of(stack, service).restarts == before.restarts or ill(stack):
        assert time.monotonic() < deadline, ill(stack)
        time.sleep(0.5)
    assert state_of(stack, service).pid != before.pid


@pytest.mark.slow
def test_then_the_batch_graph_runs_and_the_doctor_finds_nothing(stack: Stack) -> None:
    code, output = finish(command(stack.given, "materialize"))
    assert "✓ features/training_set" in output, output
    assert code == 0, output
    code, output = finish(command(stack.given, "doctor"))
    assert code == 0, output
