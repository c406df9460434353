"""One mini-cluster for all tests: starting its JVM takes longer than any of them."""

import site
from pathlib import Path

import pytest
from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment

CHECKOUT = Path(__file__).resolve().parent.parent


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
        return StreamExecutionEnvironment.get_execution_environment(configuration)


@pytest.fixture(scope="session")
def tables(stream: StreamExecutionEnvironment) -> StreamTableEnvironment:
    """The same environment for tables and SQL."""
    return StreamTableEnvironment.create(stream)
