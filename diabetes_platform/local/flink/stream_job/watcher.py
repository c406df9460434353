"""Keeps the job on the cluster: one look at a time, and what follows from it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from diabetes_platform.clients.flink import FlinkCluster, Job
from diabetes_platform.contract.events import STREAM_JOB
from diabetes_platform.contract.s3 import S3
from diabetes_platform.local.errors import USER_ERRORS
from diabetes_platform.local.flink.client import Client
from diabetes_platform.local.flink.stream_job.checkpoints import DIRECTORY, clear, retained
from diabetes_platform.local.flink.stream_job.decisions import (
    RESTORE_SECONDS,
    BackOff,
    Checkpoint,
    current,
    outdated,
    spoils,
    to_restore,
)
from diabetes_platform.local.jvm import innermost_cause
from diabetes_platform.settings import PROJECT_ROOT

JOB = PROJECT_ROOT / "flink" / "patients" / "job.py"
POLL_SECONDS = 1.0
_CLEAR_EVERY = 30.0


@dataclass(slots=True)
class Watcher:
    """Watches over the job on `cluster`, which reads from the Kafka at `bootstrap_servers`.

    `ready` exists as long as the job runs. `say` is told what a person should know of.
    """

    cluster: FlinkCluster
    client: Client
    s3: S3
    bootstrap_servers: str
    ready: Path
    say: Callable[[str], None]
    back_off: BackOff = field(default_factory=BackOff)
    unusable: set[str] = field(default_factory=set)
    _restoring: tuple[str, Checkpoint, float] | None = None
    """The job's id, what it was to go on from, and since when (monotonic seconds)."""
    _cleared: float = 0.0
    _seen: set[str] = field(default_factory=set)
    """Jobs that ended and were told of."""

    def look(self) -> float:
        """Do what is to be done now; return the seconds until the next look."""
        try:
            jobs = self.cluster.jobs()
            job = current(jobs, STREAM_JOB)
            if job is not None:
                return self._watch(job)
            self._unready()
            return self._failed_since(jobs) or self._submit()
        except USER_ERRORS as error:
            self._unready()
            self.say(str(error))
            return POLL_SECONDS

    def _watch(self, job: Job) -> float:
        runs = self.cluster.all_tasks_run(job.id)
        if not runs:
            self._unready()
            self._look_at_restoring(job)
            return POLL_SECONDS
        if not self.ready.exists():
            self.ready.touch()
            self.say(f"{STREAM_JOB} runs as {job.id}")
        self._restoring = None
        now = time.monotonic()
        self.back_off.healthy(now)
        if now - self._cleared > _CLEAR_EVERY:
            self._cleared = now
            self._clear_outdated(job)
        return POLL_SECONDS

    def _look_at_restoring(self, job: Job) -> None:
        """Give up a checkpoint from which the job does not go on: Flink would try for ever."""
        if self._restoring is None or self._restoring[0] != job.id:
            return
        _, checkpoint, since = self._restoring
        why = self.cluster.root_exception(job.id) or ""
        late = time.monotonic() - since > RESTORE_SECONDS
        if spoils(why) or (late and why):
            self._give_up(checkpoint, why)
            self.cluster.cancel(job.id)
            self._restoring = None

    def _failed_since(self, jobs: list[Job]) -> float | None:
        """Return how long to wait where the job has failed since the last look."""
        ended = {job.id: job for job in jobs if job.name == STREAM_JOB and job.ended}
        new = ended.keys() - self._seen
        self._seen |= new
        for job_id in sorted(new):
            job = ended[job_id]
            self.say(f"{STREAM_JOB} {job_id} is {job.state}")
            if job.state == "FAILED":
                why = self.cluster.root_exception(job_id) or ""
                if self._restoring and self._restoring[0] == job_id and spoils(why):
                    self._give_up(self._restoring[1], why)
                    return POLL_SECONDS
                seconds = self.back_off.failed()
                self.say(f"it failed ({first_words(why)}): next try in {seconds:.0f} s")
                return seconds
        return None

    def _submit(self) -> float:
        if self.cluster.overview().slots_available == 0:
            self.say("no slot is free yet")
            return POLL_SECONDS
        # Where the store cannot be asked this raises: a start without state is no answer to that.
        checkpoint = to_restore(retained(self.s3), self.unusable)
        options = {"execution.checkpointing.dir": DIRECTORY}
        if checkpoint is not None:
            options["execution.state-recovery.path"] = checkpoint.url
        elif self.unusable:
            self.say("no checkpoint is usable: starting with Kafka's oldest message")
        started_from = checkpoint.url if checkpoint else "the beginning"
        self.say(f"submitting {STREAM_JOB} from {started_from}")
        arguments = ("--bootstrap-servers", self.bootstrap_servers)
        try:
            self.client.run(JOB, self.cluster, STREAM_JOB, arguments=arguments, **options)
        except USER_ERRORS as error:
            self._seen |= {job.id for job in self.cluster.jobs() if job.ended}
            if checkpoint is not None and spoils(str(error)):
                self._give_up(checkpoint, str(error))
                return 0.0
            seconds = self.back_off.failed()
            self.say(f"{error}: next try in {seconds:.0f} s")
            return seconds
        job = current(self.cluster.jobs(), STREAM_JOB)
        if job is not None and checkpoint is not None:
            self._restoring = (job.id, checkpoint, time.monotonic())
        return POLL_SECONDS

    def _give_up(self, checkpoint: Checkpoint, why: str) -> None:
        self.unusable.add(checkpoint.url)
        self.say(
            f"WARNING: checkpoint {checkpoint.url} cannot be used ({first_words(why)}): "
            "falling back to the one before"
        )

    def _clear_outdated(self, job: Job) -> None:
        for job_id in outdated(retained(self.s3), job.id):
            self.say(f"cleared {clear(self.s3, job_id)} objects of the job before, {job_id}")

    def _unready(self) -> None:
        self.ready.unlink(missing_ok=True)


def first_words(why: str) -> str:
    """Return the innermost cause of a Java stack trace, or of anything else its first line."""
    lines = [line.strip() for line in why.splitlines() if line.strip()]
    return (innermost_cause(why) or (lines or ["it does not say why"])[0])[:300]
