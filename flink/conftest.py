"""The mini-cluster of all tests: starting its JVM takes longer than any test."""

import site
import threading
from collections import deque
from pathlib import Path

import pytest
from py4j.java_gateway import GatewayConnection  # type: ignore[import-untyped]
from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment

from flink.pyflink_internals import gateway_client

CHECKOUT = Path(__file__).resolve().parent.parent


class TestConnections(deque[GatewayConnection]):
    """Idle connections to the JVM, one of them reserved for the tests' own thread.

    A thread of the JVM serves each connection, and Flink's planner keeps state by thread: planning
    fails after another thread of PyFlink has borrowed the connection that created the environment.
    """

    def __init__(self, idle: deque[GatewayConnection]) -> None:
        super().__init__(idle)
        self._reserved, self._thread = idle[-1], threading.get_ident()

    def pop(self) -> GatewayConnection:  # type: ignore[override]
        """Return a connection; IndexError when none is idle, and Py4J opens another."""
        if threading.get_ident() == self._thread and self._reserved in self:
            self.remove(self._reserved)
            return self._reserved
        newest = [connection for connection in self if connection is not self._reserved][-1]
        self.remove(newest)
        return newest


@pytest.fixture(scope="session")
def stream() -> StreamExecutionEnvironment:
    """The environment of jobs on the mini-cluster, with Python in the JVM's threads."""
    configuration = Configuration()
    configuration.set_string("python.execution-mode", "thread")
    configuration.set_string(
        "python.pythonpath", ":".join([*site.getsitepackages(), str(CHECKOUT)])
    )
    configuration.set_string("parallelism.default", "1")
    configuration.set_string("restart-strategy.type", "none")
    with pytest.MonkeyPatch.context() as patched:
        # Most code runs once here, so that only quick compilation pays.
        patched.setenv("JVM_ARGS", "-Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1")
        environment = StreamExecutionEnvironment.get_execution_environment(configuration)
    client = gateway_client()
    client.deque = TestConnections(client.deque)
    return environment


@pytest.fixture(scope="session")
def tables(stream: StreamExecutionEnvironment) -> StreamTableEnvironment:
    """The table environment of `stream`."""
    return StreamTableEnvironment.create(stream)
