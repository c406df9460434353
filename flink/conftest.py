"""One mini-cluster for all tests: starting its JVM takes longer than any of them."""

import site
import threading
from collections import deque
from pathlib import Path

import pytest
from py4j.java_gateway import GatewayConnection  # type: ignore[import-untyped]
from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.table import StreamTableEnvironment

CHECKOUT = Path(__file__).resolve().parent.parent


class TestsFirst(deque[GatewayConnection]):
    """Idle connections to the JVM, one of them for the tests' own thread only.

    Each is served by a thread of Java's, and Flink's planner keeps what it needs by thread: where
    another thread of PyFlink's borrows the connection that made the environment, planning fails.
    """

    def __init__(self, idle: deque[GatewayConnection]) -> None:
        super().__init__(idle)
        self._own, self._thread = idle[-1], threading.get_ident()

    def pop(self) -> GatewayConnection:  # type: ignore[override]
        """Raise IndexError where none is idle: Py4J then opens another."""
        if threading.get_ident() == self._thread and self._own in self:
            self.remove(self._own)
            return self._own
        others = [connection for connection in self if connection is not self._own]
        self.remove(others[-1])
        return others[-1]


@pytest.fixture(scope="session")
def stream() -> StreamExecutionEnvironment:
    """The environment of jobs that run in this process's own Flink, Python in the JVM's threads."""
    configuration = Configuration()
    configuration.set_string("python.execution-mode", "thread")
    configuration.set_string(
        "python.pythonpath", ":".join([*site.getsitepackages(), str(CHECKOUT)])
    )
    configuration.set_string("parallelism.default", "1")
    configuration.set_string("restart-strategy.type", "none")
    with pytest.MonkeyPatch.context() as patched:
        # Most of what is executed here is executed once: quick compilation is all that pays.
        patched.setenv("JVM_ARGS", "-Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1")
        environment = StreamExecutionEnvironment.get_execution_environment(configuration)
    client = get_gateway()._gateway_client  # noqa: SLF001 - no other way
    client.deque = TestsFirst(client.deque)
    return environment


@pytest.fixture(scope="session")
def tables(stream: StreamExecutionEnvironment) -> StreamTableEnvironment:
    """The same environment for tables and SQL."""
    return StreamTableEnvironment.create(stream)
