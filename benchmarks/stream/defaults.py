"""The same way with the waits that its components have by default, for as long as a block runs.

Debezium polls every 500 ms and gathers batches, its producer and the job's linger 5 ms, Flink's
tasks gather records for 100 ms, and Python runs in a process of its own, which gathers for 1 s.
The predictor stays: its broker answers at once by default too (`fetch.min.bytes` 1). What is not a
wait stays as well.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from diabetes_platform.clients.flink import FlinkCluster
from diabetes_platform.contract.events import STREAM_JOB
from diabetes_platform.contract.s3 import S3
from diabetes_platform.local.connect.setup import read_config, setup_connector
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.flink.client import Client, cancel
from diabetes_platform.local.flink.distribution import FlinkHome
from diabetes_platform.local.flink.stream_job.checkpoints import DIRECTORY, retained
from diabetes_platform.local.flink.stream_job.decisions import current, to_restore
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.local.minio.connection import REGION
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.postgres.connection import WAREHOUSE_DATABASE, database_url
from diabetes_platform.local.stack import Stack, storage_secret
from diabetes_platform.local.supervisor import Supervisor
from diabetes_platform.settings import PROJECT_ROOT, Port, inherited_environment

JOB = PROJECT_ROOT / "benchmarks" / "stream" / "default_job.py"
CONNECTOR_WAITS = ("poll.interval.ms", "max.batch.size", "producer.override.linger.ms")
MODE = "python.execution-mode"
SECONDS = 180.0


@contextmanager
def default_waits(stack: Stack) -> Iterator[None]:
    """Let the running platform wait as its components do by default until the block ends."""
    with _plain_connector(stack), _plain_job(stack):
        yield


@contextmanager
def _plain_connector(stack: Stack) -> Iterator[None]:
    connect, database = stack.url(Port.CONNECT), database_url(stack, "debezium", WAREHOUSE_DATABASE)
    config = {name: value for name, value in read_config().items() if name not in CONNECTOR_WAITS}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "plain.json"
        file.write_text(json.dumps(config), encoding="utf-8")
        try:
            setup_connector(connect, database, file)
            yield
        finally:
            setup_connector(connect, database)


@contextmanager
def _plain_job(stack: Stack) -> Iterator[None]:
    """Run the other job in place of the platform's, whose keeper is halted meanwhile."""
    cluster = FlinkCluster(stack.url(Port.FLINK))
    processes = Supervisor(stack.layout).processes() or []
    keeper = next(one.pid for one in processes if one.name == "stream-job")
    os.kill(keeper, signal.SIGSTOP)
    try:
        _end(cluster)
        environment = inherited_environment()
        home = FlinkHome(Tools(stack.layout.tools))
        client = Client(home, find_java(environment), environment)
        servers = f"{HOST}:{stack.port(Port.KAFKA)}"
        options = {MODE: "process", "execution.checkpointing.dir": DIRECTORY, **_state(stack)}
        arguments = ("--bootstrap-servers", servers)
        client.run(JOB, cluster, STREAM_JOB, arguments=arguments, **options)
        _wait(lambda: _runs(cluster), "the job with default waits does not run")
        yield
    finally:
        os.kill(keeper, signal.SIGCONT)
        # It takes the other one for its own, until that has ended.
        _end(cluster)
        _wait(lambda: _runs(cluster), f"{STREAM_JOB} does not come back")


def _state(stack: Stack) -> dict[str, str]:
    """Return the option that lets a job go on where the last one ended."""
    s3 = S3(stack.url(Port.MINIO), "flink", stack.secrets[storage_secret("flink")], REGION)
    checkpoint = to_restore(retained(s3), ())
    return {} if checkpoint is None else {"execution.state-recovery.path": checkpoint.url}


def _end(cluster: FlinkCluster) -> None:
    cancel(cluster, STREAM_JOB)
    _wait(lambda: not _runs(cluster), f"{STREAM_JOB} does not end")


def _runs(cluster: FlinkCluster) -> bool:
    job = current(cluster.jobs(), STREAM_JOB)
    return job is not None and cluster.all_tasks_run(job.id)


def _wait(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise PlatformError(otherwise)
        time.sleep(0.5)
