"""Keeps the stream job running: submits it, restores checkpoints, and retries failures."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from diabetes_platform.clients.flink import FlinkCluster, Job
from diabetes_platform.contract.events import STREAM_JOB
from diabetes_platform.contract.s3 import S3
from diabetes_platform.local.errors import USER_ERRORS
from diabetes_platform.local.flink.client import Client
from diabetes_platform.local.flink.stream_job.checkpoints import (
    DIRECTORY,
    delete_checkpoints,
    retained,
)
from diabetes_platform.local.flink.stream_job.decisions import (
    RESTORE_SECONDS,
    BackOff,
    Checkpoint,
    is_checkpoint_failure,
    outdated,
    running_job,
    to_restore,
)
from diabetes_platform.local.jvm import innermost_cause
from diabetes_platform.settings import PROJECT_ROOT

JOB = PROJECT_ROOT / "flink" / "patients" / "job.py"
POLL_SECONDS = 1.0
_CLEANUP_SECONDS = 30.0


@dataclass(slots=True)
class Watcher:
    """Watches the job on `cluster`, which reads from Kafka at `bootstrap_servers`.

    The file `ready` exists while the job runs. `log` writes a message to the log.
    """

    cluster: FlinkCluster
    client: Client
    s3: S3
    bootstrap_servers: str
    ready: Path
    log: Callable[[str], None]
    back_off: BackOff = field(default_factory=BackOff)
    unusable: set[str] = field(default_factory=set)
    _restoring: tuple[str, Checkpoint, float] | None = None
    """The id of a restored job, its checkpoint, and the start time (monotonic seconds)."""
    _cleaned_up: float = 0.0
    _reported: set[str] = field(default_factory=set)
    """Ended jobs that were logged."""

    def poll(self) -> float:
        """Check the job and act on its state; return the seconds until the next poll."""
        try:
            jobs = self.cluster.jobs()
            job = running_job(jobs, STREAM_JOB)
            if job is not None:
                return self._watch(job)
            self._remove_ready_file()
            return self._delay_after_failure(jobs) or self._submit()
        except USER_ERRORS as error:
            self._remove_ready_file()
            self.log(str(error))
            return POLL_SECONDS

    def _watch(self, job: Job) -> float:
        runs = self.cluster.all_tasks_run(job.id)
        if not runs:
            self._remove_ready_file()
            self._check_restore(job)
            return POLL_SECONDS
        if not self.ready.exists():
            self.ready.touch()
            self.log(f"{STREAM_JOB} runs as {job.id}")
        self._restoring = None
        now = time.monotonic()
        self.back_off.healthy(now)
        if now - self._cleaned_up > _CLEANUP_SECONDS:
            self._cleaned_up = now
            self._delete_outdated(job)
        return POLL_SECONDS

    def _check_restore(self, job: Job) -> None:
        """Abandon a checkpoint that the job cannot restore, because Flink would retry forever."""
        if self._restoring is None or self._restoring[0] != job.id:
            return
        _, checkpoint, since = self._restoring
        error = self.cluster.root_exception(job.id) or ""
        is_overdue = time.monotonic() - since > RESTORE_SECONDS
        if is_checkpoint_failure(error) or (is_overdue and error):
            self._abandon(checkpoint, error)
            self.cluster.cancel(job.id)
            self._restoring = None

    def _delay_after_failure(self, jobs: list[Job]) -> float | None:
        """Return the delay before a new submission if the job failed since the last poll."""
        ended = {job.id: job for job in jobs if job.name == STREAM_JOB and job.ended}
        newly_ended = ended.keys() - self._reported
        self._reported |= newly_ended
        for job_id in sorted(newly_ended):
            job = ended[job_id]
            self.log(f"{STREAM_JOB} {job_id} is {job.state}")
            if job.state == "FAILED":
                error = self.cluster.root_exception(job_id) or ""
                restored = self._restoring
                if restored and restored[0] == job_id and is_checkpoint_failure(error):
                    self._abandon(restored[1], error)
                    return POLL_SECONDS
                seconds = self.back_off.failed()
                self.log(f"it failed ({summary(error)}): next try in {seconds:.0f} s")
                return seconds
        return None

    def _submit(self) -> float:
        if self.cluster.overview().slots_available == 0:
            self.log("no slot is free yet")
            return POLL_SECONDS
        # Raises if the store does not answer, because the job must not start without its state.
        checkpoint = to_restore(retained(self.s3), self.unusable)
        options = {"execution.checkpointing.dir": DIRECTORY}
        if checkpoint is not None:
            options["execution.state-recovery.path"] = checkpoint.url
        elif self.unusable:
            self.log("no checkpoint is usable: starting with Kafka's oldest message")
        started_from = checkpoint.url if checkpoint else "the beginning"
        self.log(f"submitting {STREAM_JOB} from {started_from}")
        arguments = ("--bootstrap-servers", self.bootstrap_servers)
        try:
            self.client.run(JOB, self.cluster, STREAM_JOB, arguments=arguments, **options)
        except USER_ERRORS as error:
            self._reported |= {job.id for job in self.cluster.jobs() if job.ended}
            if checkpoint is not None and is_checkpoint_failure(str(error)):
                self._abandon(checkpoint, str(error))
                return 0.0
            seconds = self.back_off.failed()
            self.log(f"{error}: next try in {seconds:.0f} s")
            return seconds
        job = running_job(self.cluster.jobs(), STREAM_JOB)
        if job is not None and checkpoint is not None:
            self._restoring = (job.id, checkpoint, time.monotonic())
        return POLL_SECONDS

    def _abandon(self, checkpoint: Checkpoint, error: str) -> None:
        self.unusable.add(checkpoint.url)
        self.log(
            f"WARNING: checkpoint {checkpoint.url} cannot be used ({summary(error)}): "
            "falling back to the previous one"
        )

    def _delete_outdated(self, job: Job) -> None:
        for job_id in outdated(retained(self.s3), job.id):
            deleted = delete_checkpoints(self.s3, job_id)
            self.log(f"deleted {deleted} checkpoint objects of the previous job {job_id}")

    def _remove_ready_file(self) -> None:
        self.ready.unlink(missing_ok=True)


def summary(error: str) -> str:
    """Return the innermost cause of a Java stack trace, or the first line of another message."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return (innermost_cause(error) or (lines or ["no message"])[0])[:300]
