"""A member of the group whose broker goes away at an awkward moment."""

import os
import subprocess

import pytest

from diabetes_platform.local.home import HomeLayout
from diabetes_platform.settings import PROJECT_ROOT
from diabetes_platform_tests.capture import TOOLS, Kafka
from diabetes_platform_tests.predicting import given, send, wait_for
from diabetes_platform_tests.streaming.sink import message

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

MEMBER = "diabetes_platform_tests.integration.predictor.member"


def test_partitions_are_taken_though_the_broker_ended_after_it_gave_them(
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

        def tell() -> str:
            """Let the member take its next step; return what it says of it."""
            assert member.stdin is not None
            assert member.stdout is not None
            member.stdin.write("\n")
            member.stdin.flush()
            return member.stdout.readline().strip()

        try:
            wait_for(lambda: given(broker) == 4)
            broker.kill()
            try:
                # Neither what the group has read nor what there is can be asked for.
                assert tell() == "partitions: 4, lags: {}"
            finally:
                broker.start()
            send(broker, [message(first, 1)])
            assert tell() == "received: 1"
        finally:
            member.kill()
