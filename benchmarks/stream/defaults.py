"""The stream with the default delays of its components, for the duration of a block.

By default Debezium polls every 500 ms and batches changes, its producer and the job's linger 5 ms,
Flink's tasks buffer records for 100 ms, and Python runs in its own process, which buffers for 1 s.
The predictor is unchanged: its broker responds at once by default, too (`fetch.min.bytes` 1).
Settings that are not delays are unchanged.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from diabetes_platform.clients.flink import FlinkCluster
from diabetes_platform.contract.s3 import S3
from diabetes_platform.contract.topics import STREAM_JOB
from diabetes_platform.errors import PlatformError
from diabetes_platform.local.flink.client import Client, cancel
from diabetes_platform.local.flink.distribution import FlinkHome
from diabetes_platform.local.flink.job_state import running_job
from diabetes_platform.local.flink.stream_job import DIRECTORY, retained, to_restore
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.local.minio.connection import REGION
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.postgres.connection import database_url
from diabetes_platform.local.stack import Stack, storage_secret
from diabetes_platform.local.supervisor import Supervisor
from diabetes_platform.polling import wait_until
from diabetes_platform.provisioning.connector import read_config, setup_connector
from diabetes_platform.provisioning.databases import WAREHOUSE_DATABASE
from diabetes_platform.settings import PROJECT_ROOT, Port, inherited_environment

JOB = PROJECT_ROOT / "benchmarks" / "stream" / "default_job.py"
CONNECTOR_DELAYS = ("poll.interval.ms", "max.batch.size", "producer.override.linger.ms")
EXECUTION_MODE = "python.execution-mode"
TIMEOUT_SECONDS = 180.0


@contextmanager
def default_delays(stack: Stack) -> Iterator[None]:
    """Run the platform with the default delays of its components within the block."""
    with _default_connector(stack), _default_job(stack):
        yield


@contextmanager
def _default_connector(stack: Stack) -> Iterator[None]:
    connect, database = stack.url(Port.CONNECT), database_url(stack, "debezium", WAREHOUSE_DATABASE)
    config = {name: value for name, value in read_config().items() if name not in CONNECTOR_DELAYS}
    with TemporaryDirectory() as directory:
        file = Path(directory) / "connector.json"
        file.write_text(json.dumps(config), encoding="utf-8")
        try:
            setup_connector(connect, database, file)
            yield
        finally:
            setup_connector(connect, database)


@contextmanager
def _default_job(stack: Stack) -> Iterator[None]:
    """Run `default_job` in place of the platform's job, whose supervisor is paused meanwhile."""
    cluster = FlinkCluster(stack.url(Port.FLINK))
    processes = Supervisor(stack.layout).processes() or []
    supervisor_pid = next(process.pid for process in processes if process.name == "stream-job")
    os.kill(supervisor_pid, signal.SIGSTOP)
    try:
        _cancel_job(cluster)
        environment = inherited_environment()
        home = FlinkHome(Tools(stack.layout.tools))
        client = Client(home, find_java(environment), environment)
        servers = f"{HOST}:{stack.port(Port.KAFKA)}"
        options = {
            EXECUTION_MODE: "process",
            "execution.checkpointing.dir": DIRECTORY,
            **_restore_options(stack),
        }
        arguments = ("--bootstrap-servers", servers)
        client.run(JOB, cluster, STREAM_JOB, arguments=arguments, **options)
        _wait(lambda: _is_running(cluster), "the job with default delays does not start")
        yield
    finally:
        os.kill(supervisor_pid, signal.SIGCONT)
        # It takes the benchmark's job for its own until that job has ended.
        _cancel_job(cluster)
        _wait(lambda: _is_running(cluster), f"{STREAM_JOB} does not restart")


def _restore_options(stack: Stack) -> dict[str, str]:
    """Return the option that restores the job from the latest checkpoint, if there is one."""
    s3 = S3(stack.url(Port.MINIO), "flink", stack.secrets[storage_secret("flink")], REGION)
    checkpoint = to_restore(retained(s3), ())
    return {} if checkpoint is None else {"execution.state-recovery.path": checkpoint.url}


def _cancel_job(cluster: FlinkCluster) -> None:
    cancel(cluster, STREAM_JOB)
    _wait(lambda: not _is_running(cluster), f"{STREAM_JOB} does not end")


def _is_running(cluster: FlinkCluster) -> bool:
    job = running_job(cluster.jobs(), STREAM_JOB)
    return job is not None and cluster.all_tasks_run(job.id)


def _wait(condition: Callable[[], bool], message: str) -> None:
    try:
        wait_until(condition, timeout=TIMEOUT_SECONDS, interval=0.5)
    except TimeoutError as error:
        raise PlatformError(message) from error
