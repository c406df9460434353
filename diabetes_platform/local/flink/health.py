"""The health checks of Flink: a job in a free slot, and the stream job."""

from diabetes_platform.clients.flink import FlinkCluster
from diabetes_platform.contract.topics import STREAM_JOB
from diabetes_platform.local.flink.client import Client, smoke
from diabetes_platform.local.flink.distribution import FlinkHome
from diabetes_platform.local.flink.job_state import stream_job_of
from diabetes_platform.local.health import HealthCheck
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port, inherited_environment


def flink_job(stack: Stack) -> str:
    """Run Flink's smoke job; raises if no slot is free or the job fails."""
    cluster = FlinkCluster(stack.url(Port.FLINK))
    overview = cluster.overview()
    if not overview.slots_available:
        raise RuntimeError(str(overview))
    environment = inherited_environment()
    client = Client(FlinkHome(Tools(stack.layout.tools)), find_java(environment), environment)
    return f"{overview}; {smoke(client, cluster)}"


def stream_job_runs(stack: Stack) -> str:
    """Return the stream job's state and counters; raises if it does not run."""
    state = stream_job_of(stack)
    if not state.running:
        raise RuntimeError(f"job {STREAM_JOB} is {state}")
    return f"job {STREAM_JOB} is {state}"


CHECKS = (
    HealthCheck(
        "flink",
        "runs a job",
        flink_job,
        "without a free slot: cancel a job in Flink's UI; otherwise see `diabetes logs "
        "flink-taskmanager` and `diabetes logs flink-jobmanager`",
        Port.FLINK,
        of_stream=True,
        local_only=True,
    ),
    HealthCheck(
        "stream-job",
        "job runs",
        stream_job_runs,
        "it is submitted again automatically: see `diabetes logs stream-job`",
        Port.FLINK,
        of_stream=True,
    ),
)
