"""The stream job's state, for the table and the doctor."""

from dataclasses import dataclass

from diabetes_platform.clients.errors import ServiceError
from diabetes_platform.clients.flink import FlinkCluster
from diabetes_platform.contract.events import STREAM_JOB
from diabetes_platform.local.flink.stream_job.decisions import current
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port
from diabetes_platform.streaming.message_accounting import MessageCounters, read_counters

NOT_THERE, NO_ANSWER = "not submitted", "Flink does not answer"


@dataclass(frozen=True, slots=True)
class StreamJobState:
    """The job's state in Flink's words, or NOT_THERE or NO_ANSWER; what it has counted."""

    state: str
    counters: MessageCounters | None = None
    checkpoints: int = 0

    @property
    def running(self) -> bool:
        """Whether every one of its tasks runs."""
        return self.state == "RUNNING"

    def __str__(self) -> str:
        if self.counters is None:
            return self.state
        return f"{self.state}, {self.checkpoints} checkpoints, {self.counters}"


def stream_job_of(stack: Stack) -> StreamJobState:
    """Return the job's state, whatever it is; never raises."""
    cluster = FlinkCluster(stack.url(Port.FLINK))
    try:
        job = current(cluster.jobs(), STREAM_JOB)
        if job is None:
            return StreamJobState(NOT_THERE)
        if not cluster.all_tasks_run(job.id):
            return StreamJobState("RESTARTING" if job.state == "RUNNING" else job.state)
        completed = cluster.checkpoints(job.id).completed
        return StreamJobState(job.state, read_counters(cluster, job.id), completed)
    except ServiceError:
        return StreamJobState(NO_ANSWER)
