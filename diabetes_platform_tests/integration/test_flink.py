"""The Flink session cluster: a real job, its checkpoints on S3, and its servers killed."""

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
"""The stream's own job holds one."""
RECOVERED_SECONDS = 60.0
ENDLESS = 2_000_000_000
"""Patients that would keep the smoke job busy for a day."""


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
    """The id of a smoke job after its first checkpoint; it goes on until it is cancelled."""
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
    """Where the registered TaskManagers listen: elsewhere after each start."""
    told = httpx.get(f"{cluster.url}/taskmanagers", trust_env=False).json()["taskmanagers"]
    return {each["path"] for each in told}


def kill(stack: Stack, service: str) -> None:
    processes = Supervisor(stack.layout).processes()
    assert processes is not None
    (pid,) = (process.pid for process in processes if process.name == service)
    os.kill(pid, signal.SIGKILL)


def checkpoint_files(stack: Stack, path: str) -> set[str]:
    """The names of the objects below `path` (`s3://…`), as Flink's own user sees them."""
    bucket, _, prefix = path.removeprefix("s3://").partition("/")
    password = stack.secrets[storage_secret("flink")]
    storage = Minio(f"{HOST}:{stack.port(Port.MINIO)}", "flink", password, secure=False)
    found = storage.list_objects(bucket, prefix=f"{prefix}/", recursive=True)
    return {str(each.object_name).rpartition("/")[2] for each in found}


@pytest.mark.slow
def test_the_smoke_job_proves_the_cluster(client: Client, cluster: FlinkCluster) -> None:
    within(60, lambda: cluster.overview().slots_available == FREE)
    assert str(cluster.overview()).startswith(f"{FREE} of {SLOTS} slots free on 1 TaskManagers")
    assert "1000 patients checked" in smoke(client, cluster)
    assert [job.state for job in cluster.jobs() if job.name.startswith("smoke-")][-1] == "FINISHED"


@pytest.mark.slow
def test_checkpoints_lie_on_s3_and_outlive_a_cancelled_job(
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
def test_a_killed_taskmanager_comes_back_and_the_job_goes_on_from_its_checkpoint(
    stack: Stack, cluster: FlinkCluster, job: str
) -> None:
    before = task_managers(cluster)
    kill(stack, "flink-taskmanager")
    within(RECOVERED_SECONDS, lambda: task_managers(cluster) - before)
    within(RECOVERED_SECONDS, lambda: cluster.overview().slots == SLOTS)
    within(RECOVERED_SECONDS, lambda: cluster.checkpoints(job).restored)
    completed = cluster.checkpoints(job).completed
    within(30, lambda: cluster.checkpoints(job).completed > completed)


@pytest.mark.slow
def test_a_killed_jobmanager_comes_back_with_all_slots(
    stack: Stack, client: Client, cluster: FlinkCluster
) -> None:
    kill(stack, "flink-jobmanager")
    within(5, lambda: not answers(cluster))
    within(RECOVERED_SECONDS, lambda: cluster.overview().slots == SLOTS)
    assert smoke(client, cluster)


def answers(cluster: FlinkCluster) -> bool:
    try:
        cluster.overview()
    except ServiceError:
        return False
    return True
