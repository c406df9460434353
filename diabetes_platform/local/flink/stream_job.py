"""The process `stream-job`, which keeps the stream job running: `python -m` this module.

It submits the job, restores checkpoints, and retries failures, because the cluster has no high
availability. It runs until it is stopped; the job and its checkpoints stay on the cluster.
"""

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from diabetes_platform.clients.errors import ServiceResponseError, ServiceUnreachableError
from diabetes_platform.clients.flink import FlinkCluster, Job
from diabetes_platform.clients.java_traces import failure_reason
from diabetes_platform.contract.s3 import S3
from diabetes_platform.contract.topics import STREAM_JOB
from diabetes_platform.errors import USER_ERRORS, PlatformError
from diabetes_platform.local.flink.client import Client, PreparedProgram
from diabetes_platform.local.flink.distribution import FlinkHome
from diabetes_platform.local.flink.job_state import running_job
from diabetes_platform.local.home import HomeLayout, write_private
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.local.signals import stoppable
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, inherited_environment
from diabetes_platform.streaming.recorded_issues import record_issue

JOB = PROJECT_ROOT / "flink" / "patients" / "job.py"
BUCKET = "s3://checkpoints"
DIRECTORY = f"{BUCKET}/{STREAM_JOB}"
"""Reserved for the stream job."""
POLL_SECONDS = 1.0
RESTORE_SECONDS = 90.0
"""A restored job that does not run after this time is not expected to recover."""
_CLEANUP_SECONDS = 30.0
_METADATA = re.compile(rf"{STREAM_JOB}/(?P<job>[0-9a-f]{{32}})/chk-\d+/_metadata")
_RETAINED = 3
"""The number of checkpoints that Flink retains: one to restore, two as fallback."""
_FIRST_WAIT, _LONGEST_WAIT = 2.0, 60.0
_STABLE_SECONDS = 120.0
_UNUSABLE = re.compile(
    r"Could not restore|Cannot find (?:checkpoint|meta ?data)|Cannot find checkpoint or savepoint|"
    r"Failed to (?:rollback|restore|read)|Could not (?:read|load|find) (?:checkpoint|savepoint)|"
    r"Error while (?:reading|deserializing).*(?:state|checkpoint)|StateMigrationException|"
    r"Unexpected magic number|Unrecognized checkpoint|Corrupt|StreamCorruptedException|"
    r"There is no operator for the state|_metadata|restored? from (?:checkpoint|savepoint)"
)
_RESTORE = re.compile(
    r"Could not restore|Failed to (?:rollback|restore)|Cannot find (?:check|meta)"
)
"""What Flink itself says about a restore, and no other failure of a running job."""
_OUTAGE = re.compile(
    r"does not answer|not done after|[Tt]imed? ?out|Timeout|Connection (?:refused|reset)|"
    r"ConnectException|UnknownHost|NoResourceAvailable|SlowDown|ServiceUnavailable|"
    r"Service Unavailable|Unable to execute HTTP request|Disconnect|Lost connection|"
    r"TaskManager|TaskExecutor|OutOfMemory|UnknownTopicOrPartition"
)
_MAX_RESTORES = 2
"""Restores of one checkpoint that may fail with an unknown error: a damaged file has many."""


@dataclass(frozen=True, slots=True, order=True)
class Checkpoint:
    """A retained checkpoint: completion time (seconds since 1970), URL and job."""

    completed: float
    url: str
    job_id: str


@dataclass(slots=True)
class BackOff:
    """Exponential back-off: the delay doubles after each failure, up to a minute."""

    failures: int = 0
    _healthy_since: float | None = field(default=None)

    def failed(self) -> float:
        """Record a failure and return the delay in seconds."""
        self.failures += 1
        self._healthy_since = None
        return min(_FIRST_WAIT * 2.0 ** (self.failures - 1), _LONGEST_WAIT)

    def healthy(self, monotonic: float) -> None:
        """Record that the job runs; after two minutes the delay is reset."""
        if self._healthy_since is None:
            self._healthy_since = monotonic
        elif monotonic - self._healthy_since > _STABLE_SECONDS:
            self.failures = 0


def to_restore(checkpoints: Sequence[Checkpoint], unusable: Collection[str]) -> Checkpoint | None:
    """Return the newest checkpoint that is not in `unusable`, or None."""
    usable = [checkpoint for checkpoint in checkpoints if checkpoint.url not in unusable]
    return max(usable, default=None)


def is_outage(message: str) -> bool:
    """Whether Flink's failure message says that a service does not answer."""
    return _OUTAGE.search(message) is not None


def is_checkpoint_failure(message: str) -> bool:
    """Whether Flink's failure message says that the checkpoint cannot be used."""
    return _UNUSABLE.search(message) is not None and not is_outage(message)


def abandons(message: str, restores: int) -> bool:
    """Whether to set a checkpoint aside after `restores` failures, the last one with `message`.

    A damaged checkpoint fails with any error of Java, and only an outage is certain to be another
    cause. Nothing is lost if the guess is wrong: the checkpoints stay in the store, and they are
    tried again if the job fails without them, too.
    """
    if is_outage(message):
        return False
    return is_checkpoint_failure(message) or restores >= _MAX_RESTORES


def outdated(checkpoints: Sequence[Checkpoint], job_id: str) -> list[str]:
    """Return the other jobs with checkpoints, once `job_id` has enough checkpoints itself."""
    if sum(checkpoint.job_id == job_id for checkpoint in checkpoints) < _RETAINED:
        return []
    return sorted({checkpoint.job_id for checkpoint in checkpoints} - {job_id})


def retained(s3: S3) -> list[Checkpoint]:
    """Return every completed checkpoint, unordered. Raises PlatformError."""
    checkpoints = []
    with _store(s3) as store:
        for page in obstore.list(store, prefix=STREAM_JOB):
            for entry in page:
                match = _METADATA.fullmatch(entry["path"])
                if match is not None:
                    url = f"{BUCKET}/{entry['path'].removesuffix('/_metadata')}"
                    completed = entry["last_modified"].timestamp()
                    checkpoints.append(Checkpoint(completed, url, match["job"]))
    return checkpoints


def delete_checkpoints(s3: S3, job_id: str) -> int:
    """Delete all checkpoints of a job; return the number of objects. Raises PlatformError."""
    with _store(s3) as store:
        listed = obstore.list(store, prefix=f"{STREAM_JOB}/{job_id}")
        paths = [entry["path"] for page in listed for entry in page]
        if paths:
            obstore.delete(store, paths)
    return len(paths)


@contextmanager
def _store(s3: S3) -> Iterator[Any]:
    try:
        with s3.errors(DIRECTORY):
            yield from_url(BUCKET, **s3.for_obstore())
    except (BaseError, RuntimeError, OSError) as error:
        raise PlatformError(f"{DIRECTORY}: {' '.join(str(error).split())[:300]}") from error


@dataclass(slots=True)
class Watcher:
    """Watches the job on `cluster`, which reads from Kafka at `bootstrap_servers`.

    The file `ready` exists while the job runs.
    """

    cluster: FlinkCluster
    client: Client
    s3: S3
    bootstrap_servers: str
    ready: Path
    issues: Path
    """The file for issues that `stream_health` alerts on."""
    damaged: Path
    """The file that keeps `unusable` when this process ends."""
    back_off: BackOff = field(default_factory=BackOff)
    unusable: set[str] = field(default_factory=set)
    """The URLs of the checkpoints that were set aside."""
    _failed_restores: Counter[str] = field(default_factory=Counter)
    """The number of failures by the checkpoint's URL."""
    _prepared: PreparedProgram | None = None
    """The client that waits until the job can be submitted."""
    _restoring: Checkpoint | None = None
    """The checkpoint of the newest submission, until its job runs or has failed."""
    _without_checkpoint: bool = False
    """Whether the newest submission had none, until its job runs."""
    _stopped_ms: int | None = None
    """Since when the job does not run, as far as this process knows (ms since 1970)."""
    _cleaned_up: float = 0.0
    _reported: set[str] | None = None
    """Ended jobs that were logged, or that ended before this process started."""
    _last_message: str = ""

    def __post_init__(self) -> None:
        """Read the checkpoints that an earlier process has set aside."""
        try:
            self.unusable.update(json.loads(self.damaged.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError) as error:
            # At worst they are tried again.
            self.log(f"{self.damaged} cannot be read: {error}")

    def poll(self) -> float:
        """Check the job and act on its state; return the seconds until the next poll."""
        try:
            jobs = self.cluster.jobs()
            if self._reported is None:
                self._reported = {job.id for job in jobs if job.ended}
            job = running_job(jobs, STREAM_JOB)
            if job is not None:
                self.stop_client()
                return self._watch(job)
            self.ready.unlink(missing_ok=True)
            return self._delay_after_failure(jobs) or self._submit()
        except USER_ERRORS as error:
            self.ready.unlink(missing_ok=True)
            self.log(str(error))
            if isinstance(error, ServiceUnreachableError) and self._prepared is None:
                self._prepare_early()
            return POLL_SECONDS

    def _watch(self, job: Job) -> float:
        runs = self.cluster.all_tasks_run(job.id)
        if not runs:
            self.ready.unlink(missing_ok=True)
            self._check_restore(job)
            return POLL_SECONDS
        if not self.ready.exists():
            self.ready.touch()
            self.log(f"{STREAM_JOB} runs as {job.id}")
        self._restoring, self._without_checkpoint, self._stopped_ms = None, False, None
        self._failed_restores.clear()
        now = time.monotonic()
        self.back_off.healthy(now)
        if now - self._cleaned_up > _CLEANUP_SECONDS:
            self._cleaned_up = now
            self._delete_outdated(job)
        return POLL_SECONDS

    def _check_restore(self, job: Job) -> None:
        """Abandon a checkpoint that the job cannot restore, because Flink would retry forever.

        Flink itself knows which one it restores: this process may have been restarted, or may not
        have seen that its submission was accepted.
        """
        now_ms = time.time_ns() // 1_000_000
        if self._stopped_ms is None:
            self._stopped_ms = now_ms
        try:
            checkpoints = self.cluster.checkpoints(job.id)
        except ServiceResponseError:
            return  # The job is still being created.
        url = checkpoints.newest_restored or (self._restoring.url if self._restoring else None)
        if url is None:
            return
        error = self.cluster.root_exception(job.id, self._stopped_ms) or ""
        is_overdue = now_ms - self._stopped_ms > RESTORE_SECONDS * 1000
        # With checkpoints of its own, the job has run: its state is only given up if the error is
        # that of a restore. Flink itself has repeated the restore of an overdue job.
        has_run = checkpoints.completed > 0
        restores = _MAX_RESTORES if is_overdue and error and not has_run else 0
        if abandons(error, restores) and not (has_run and _RESTORE.search(error) is None):
            self._abandon(url.removesuffix("/_metadata"), error)
            self.cluster.cancel(job.id)
            self._restoring = None

    def _delay_after_failure(self, jobs: list[Job]) -> float | None:
        """Return the delay before a new submission if the job failed since the last poll."""
        ended = {job.id: job for job in jobs if job.name == STREAM_JOB and job.ended}
        newly_ended = ended.keys() - (self._reported or set())
        self._reported = set(ended)
        for job_id in sorted(newly_ended):
            job = ended[job_id]
            self.log(f"{STREAM_JOB} {job_id} is {job.state}")
            if job.state == "FAILED":
                restored, self._restoring = self._restoring, None
                error = self.cluster.root_exception(job_id) or ""
                return self._delay_after(error, restored)
        return None

    def _delay_after(self, error: str, checkpoint: Checkpoint | None) -> float:
        """Return the delay after a job failed to start from `checkpoint`, or later (None)."""
        if checkpoint is not None:
            self._failed_restores[checkpoint.url] += 1
            if abandons(error, self._failed_restores[checkpoint.url]):
                self._abandon(checkpoint.url, error)
                return POLL_SECONDS
        elif self._without_checkpoint and self.unusable and not is_outage(error):
            self.log("the job fails without a checkpoint, too: trying the checkpoints again")
            self.unusable.clear()
            self._keep_unusable()
            self._failed_restores.clear()
        seconds = self.back_off.failed()
        self.log(f"it failed ({failure_reason(error)[:300]}): next try in {seconds:.0f} s")
        return seconds

    def _prepare_early(self) -> None:
        """Start the client while the JobManager starts: both take several seconds.

        Once for each outage: a client that fails is seen when the job is submitted.
        """
        try:
            self._prepare()
        except USER_ERRORS as error:
            self.log(str(error))

    def _prepare(self) -> PreparedProgram:
        """Return the client that builds the job, or has built it; start it if there is none."""
        if self._prepared is None or not self._prepared.alive:
            self.stop_client()
            arguments = ("--bootstrap-servers", self.bootstrap_servers)
            options = {"execution.checkpointing.dir": DIRECTORY}
            self._prepared = self.client.prepare(
                JOB, self.cluster, STREAM_JOB, arguments=arguments, **options
            )
        return self._prepared

    def stop_client(self) -> None:
        """Stop the prepared client, if there is one."""
        if self._prepared is not None:
            self._prepared.stop()
            self._prepared = None

    def _submit(self) -> float:
        if self.cluster.overview().slots_available == 0:
            self.log("no slot is free yet")
            return POLL_SECONDS
        # Raises if the store does not answer, because the job must not start without its state.
        checkpoint = to_restore(retained(self.s3), self.unusable)
        options = {}
        if checkpoint is not None:
            options["execution.state-recovery.path"] = checkpoint.url
        elif self.unusable:
            self.log("no checkpoint is usable")
        started_from = checkpoint.url if checkpoint else "the offsets committed to Kafka"
        # A client that cannot start says nothing about the checkpoint.
        prepared = self._prepare()
        self.log(f"submitting {STREAM_JOB} from {started_from}")
        self._restoring, self._without_checkpoint = checkpoint, checkpoint is None
        self._stopped_ms = time.time_ns() // 1_000_000
        try:
            prepared.submit(**options)
        except USER_ERRORS as error:
            self._reported = {job.id for job in self.cluster.jobs() if job.ended}
            return self._delay_after(str(error), checkpoint)
        finally:
            self._prepared = None
        return POLL_SECONDS

    def _abandon(self, url: str, error: str) -> None:
        self.unusable.add(url)
        self._keep_unusable()
        subject = f"checkpoint {url}"
        problem = (
            f"cannot be restored ({failure_reason(error)[:300]}): it is set aside, and "
            f"{STREAM_JOB} falls back to the previous one, or to the offsets committed to Kafka"
        )
        self.log(f"WARNING: {subject} {problem}")
        try:
            record_issue(self.issues, subject, problem, time.time_ns() // 1_000_000)
        except OSError as error_of_file:
            self.log(f"{self.issues}: {error_of_file.strerror}: no alert is raised")

    def _keep_unusable(self) -> None:
        try:
            write_private(self.damaged, json.dumps(sorted(self.unusable)))
        except OSError as error:
            self.log(f"{self.damaged}: {error.strerror}: a restart tries the checkpoints again")

    def _delete_outdated(self, job: Job) -> None:
        for job_id in outdated(retained(self.s3), job.id):
            deleted = delete_checkpoints(self.s3, job_id)
            self.log(f"deleted {deleted} checkpoint objects of the previous job {job_id}")

    def log(self, text: str) -> None:
        """Print a line with the time, unless it repeats the previous one."""
        if text != self._last_message:
            # The supervisor writes it to the log.
            print(f"{datetime.now(tz=UTC):%H:%M:%S} {text}", flush=True)  # noqa: T201
        self._last_message = text


def main(arguments: Sequence[str]) -> None:
    """Watch the job forever."""
    parser = argparse.ArgumentParser(prog="stream_job", description=__doc__)
    parser.add_argument(
        "--ready", type=Path, required=True, help="file that exists while the job runs"
    )
    ready = parser.parse_args(arguments).ready
    settings, environment = PlatformSettings(), inherited_environment()
    home = FlinkHome(Tools(HomeLayout.of(settings).tools))
    ready.unlink(missing_ok=True)
    watcher = Watcher(
        cluster=FlinkCluster(settings.require("flink_url")),
        client=Client(home, find_java(environment), environment),
        s3=settings.s3,
        bootstrap_servers=settings.require("kafka_servers"),
        ready=ready,
        issues=settings.recorded_issues,
        damaged=settings.damaged_checkpoints,
    )
    with stoppable():
        try:
            while True:
                time.sleep(watcher.poll())
        finally:
            watcher.stop_client()
            # A leftover file would make a restarted process look ready.
            ready.unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(0)
