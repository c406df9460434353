"""Each service recovers after it is killed, and then the batch runs."""

import os
import signal

import pytest

from diabetes_platform.local.stack import Stack
from diabetes_platform.polling import wait_until
from diabetes_platform_tests.commands import command, finish
from diabetes_platform_tests.services import processes, state_of, unhealthy_services

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
"""An idle machine takes a sixth of this time."""


def test_the_list_contains_every_service(stack: Stack) -> None:
    assert set(KILLED) == {process.name for process in processes(stack) if not process.one_shot}


@pytest.mark.slow
@pytest.mark.parametrize("service", KILLED)
def test_a_killed_service_becomes_healthy_again(stack: Stack, service: str) -> None:
    killed = state_of(stack, service)
    os.kill(killed.pid, signal.SIGKILL)
    wait_until(
        lambda: (
            state_of(stack, service).restarts > killed.restarts and not unhealthy_services(stack)
        ),
        timeout=RECOVERED_SECONDS,
        interval=0.5,
    )
    assert state_of(stack, service).pid != killed.pid


@pytest.mark.slow
def test_the_batch_and_the_doctor_succeed_after_all_kills(stack: Stack) -> None:
    code, output = finish(command(stack.base_settings, "materialize"))
    assert "✓ features/training_set" in output, output
    assert code == 0, output
    code, output = finish(command(stack.base_settings, "doctor"))
    assert code == 0, output
