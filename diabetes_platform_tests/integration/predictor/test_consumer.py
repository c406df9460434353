"""A group member whose broker stops between assignment and the first fetch."""

import os
import subprocess

import pytest

from diabetes_platform.local.home import HomeLayout
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PROJECT_ROOT
from diabetes_platform_tests.capture import TOOLS, Kafka
from diabetes_platform_tests.predictors import PARTITIONS, assigned_partitions, send
from diabetes_platform_tests.streaming.sink import message

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

MEMBER = "diabetes_platform_tests.integration.predictor.group_member"


def test_consumes_assigned_partitions_although_the_broker_stopped_after_the_assignment(
    broker: Kafka, first: int
) -> None:
    with subprocess.Popen(
        [str(HomeLayout(TOOLS).serving_python), "-m", MEMBER, broker.bootstrap_servers],
        cwd=PROJECT_ROOT,
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as member:

        def step() -> str:
            """Let the member take its next step; return its output."""
            assert member.stdin is not None
            assert member.stdout is not None
            member.stdin.write("\n")
            member.stdin.flush()
            return member.stdout.readline().strip()

        try:
            wait_until(lambda: assigned_partitions(broker) == PARTITIONS, timeout=60)
            broker.kill()
            try:
                # Neither committed offsets nor watermarks can be fetched.
                assert step() == f"partitions: {PARTITIONS}, lags: {{}}"
            finally:
                broker.start()
            send(broker, [message(first, 1)])
            assert step() == "messages: 1"
        finally:
            member.kill()
