"""The Flink session cluster: a real job, its checkpoints on S3, and killed servers."""

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator

import httpx
import pytest
from minio import Minio

from diabetes_platform.clients.errors import ServiceError
from diabetes_platform.clients.flink import FlinkCluster
from diabetes_platform.local.flink.client import SMOKE_JOB, Client, cancel, smoke
from diabetes_platform.local.flink.distribution import FlinkHome
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.processes import stop_group
from diabetes_platform.local.stack import Stack, storage_secret
from diabetes_platform.local.supervisor import Supervisor
from diabetes_platform.settings import Port, inherited_environment
from diabetes_platform_tests.services import within

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SLOTS = 4
FREE = SLOTS - 1
"""The stream job uses one."""
RECOVERED_SECONDS = 60.0
ENDLESS = 2_000_000_000
"""Enough patients to keep the smoke job busy for a day."""


@pytest.fixture
def cluster(stack: Stack) -> FlinkCluster:
    return FlinkCluster(stack.url(Port.FLINK))


@pytest.fixture
def client(stack: Stack) -> Client:
    environment = inherited_environment()
    home = FlinkHome(Tools(stack.layout.tools))
    return Client(home, find_java(environment), environment)


@pytest.fixture
def job(client: Client, cluster: FlinkCluster) -> Iterator[str]:
    """The id of a smoke job after its first checkpoint; it runs until it is cancelled."""
    name = f"endless-{secrets.token_hex(4)}"
    process = subprocess.Popen(
        [*client.command(SMOKE_JOB, cluster, name), "--rows", str(ENDLESS)],
        env=client.variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        within(120, lambda: [job for job in cluster.jobs() if job.name == name])
        (job_id,) = (job.id for job in cluster.jobs() if job.name == name)
        within(60, lambda: cluster.checkpoints(job_id).completed)
        yield job_id
    finally:
        stop_group(process, grace=0)
        cancel(cluster, name)
        within(30, lambda: all(job.ended for job in cluster.jobs() if job.name == name))


def state(cluster: FlinkCluster, job_id: str) -> str | None:
    return next((job.state for job in cluster.jobs() if job.id == job_id), None)


def task_managers(cluster: FlinkCluster) -> set[str]:
    """Return the addresses of the registered TaskManagers, which change with each start."""
    url = f"{cluster.url}/taskmanagers"
    managers = httpx.get(url, trust_env=False).json()["taskmanagers"]
    return {manager["path"] for manager in managers}


def kill(stack: Stack, service: str) -> None:
    processes = Supervisor(stack.layout).processes()
    assert processes is not None
    (pid,) = (process.pid for process in processes if process.name == service)
    os.kill(pid, signal.SIGKILL)


def checkpoint_files(stack: Stack, path: str) -> set[str]:
    """Return the names of the objects below `path` (`s3://…`) that Flink's user can list."""
    bucket, _, prefix = path.removeprefix("s3://").partition("/")
    password = stack.secrets[storage_secret("flink")]
    storage = Minio(f"{HOST}:{stack.port(Port.MINIO)}", "flink", password, secure=False)
    entries = storage.list_objects(bucket, prefix=f"{prefix}/", recursive=True)
    return {str(entry.object_name).rpartition("/")[2] for entry in entries}


@pytest.mark.slow
def test_the_smoke_job_proves_the_cluster(client: Client, cluster: FlinkCluster) -> None:
    within(60, lambda: cluster.overview().slots_available == FREE)
    assert str(cluster.overview()).startswith(f"{FREE} of {SLOTS} slots free on 1 TaskManagers")
    assert "1000 patients checked" in smoke(client, cluster)
    assert [job.state for job in cluster.jobs() if job.name.startswith("smoke-")][-1] == "FINISHED"


@pytest.mark.slow
def test_checkpoints_are_on_s3_and_survive_a_cancelled_job(
    stack: Stack, cluster: FlinkCluster, job: str
) -> None:
    newest = cluster.checkpoints(job).newest
    assert newest is not None
    assert newest.startswith(f"s3://checkpoints/checkpoints/{job}/chk-")
    cluster.cancel(job)
    within(30, lambda: state(cluster, job) == "CANCELED")
    newest = cluster.checkpoints(job).newest
    assert newest is not None
    assert "_metadata" in checkpoint_files(stack, newest)


@pytest.mark.slow
def test_the_job_continues_from_its_checkpoint_after_its_taskmanager_was_killed(
    stack: Stack, cluster: FlinkCluster, job: str
) -> None:
    killed = task_managers(cluster)
    kill(stack, "flink-taskmanager")
    within(RECOVERED_SECONDS, lambda: task_managers(cluster) - killed)
    within(RECOVERED_SECONDS, lambda: cluster.overview().slots == SLOTS)
    within(RECOVERED_SECONDS, lambda: cluster.checkpoints(job).restored)
    completed = cluster.checkpoints(job).completed
    within(RECOVERED_SECONDS, lambda: cluster.checkpoints(job).completed > completed)


@pytest.mark.slow
def test_all_slots_return_after_the_jobmanager_was_killed(
    stack: Stack, client: Client, cluster: FlinkCluster
) -> None:
    kill(stack, "flink-jobmanager")
    within(5, lambda: not is_reachable(cluster))
    within(RECOVERED_SECONDS, lambda: cluster.overview().slots == SLOTS)
    assert smoke(client, cluster)


def is_reachable(cluster: FlinkCluster) -> bool:
    try:
        cluster.overview()
    except ServiceError:
        return False
    return True
