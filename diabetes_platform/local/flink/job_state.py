"""The state of the stream job, for the status table and the health check."""

from collections.abc import Sequence
from dataclasses import dataclass

from diabetes_platform.clients.errors import ServiceError
from diabetes_platform.clients.flink import FlinkCluster, Job
from diabetes_platform.contract.topics import STREAM_JOB
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port
from diabetes_platform.streaming.message_accounting import MessageCounters, read_counters

NOT_SUBMITTED, NO_ANSWER = "not submitted", "Flink does not answer"


@dataclass(frozen=True, slots=True)
class StreamJobState:
    """The job's state (Flink's name, NOT_SUBMITTED or NO_ANSWER) and its counters."""

    state: str
    counters: MessageCounters | None = None
    checkpoints: int = 0

    @property
    def running(self) -> bool:
        """Whether all of its tasks run."""
        return self.state == "RUNNING"

    def __str__(self) -> str:
        if self.counters is None:
            return self.state
        return f"{self.state}, {self.checkpoints} checkpoints, {self.counters}"


def stream_job_of(stack: Stack) -> StreamJobState:
    """Return the job's state; a cluster that does not answer is the state NO_ANSWER."""
    cluster = FlinkCluster(stack.url(Port.FLINK))
    try:
        job = running_job(cluster.jobs(), STREAM_JOB)
        if job is None:
            return StreamJobState(NOT_SUBMITTED)
        if not cluster.all_tasks_run(job.id):
            return StreamJobState("RESTARTING" if job.state == "RUNNING" else job.state)
        completed = cluster.checkpoints(job.id).completed
        return StreamJobState(job.state, read_counters(cluster, job.id), completed)
    except ServiceError:
        return StreamJobState(NO_ANSWER)


def running_job(jobs: Sequence[Job], name: str) -> Job | None:
    """Return the job of that name that has not ended, or None."""
    return next((job for job in jobs if job.name == name and not job.ended), None)
