"""Decisions about the stream job for states of the cluster and of the checkpoint store."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from diabetes_platform.clients.errors import ServiceUnreachableError
from diabetes_platform.clients.flink import Checkpoints, FlinkCluster, Job
from diabetes_platform.contract.s3 import DEFAULT_S3
from diabetes_platform.errors import PlatformError
from diabetes_platform.local.flink import stream_job
from diabetes_platform.local.flink.client import Client
from diabetes_platform.local.flink.job_state import running_job
from diabetes_platform.local.flink.stream_job import (
    BackOff,
    Checkpoint,
    Watcher,
    abandons,
    is_checkpoint_failure,
    outdated,
    to_restore,
)
from diabetes_platform.streaming.recorded_issues import recorded_issues

OLD, NEW = "a" * 32, "b" * 32


def checkpoints(*of_jobs: str) -> list[Checkpoint]:
    return [Checkpoint(float(at), f"s3://x/chk-{at}", job) for at, job in enumerate(of_jobs)]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], None),
        (["FAILED", "CANCELED", "FINISHED"], None),
        (["FAILED", "RUNNING"], "RUNNING"),
        (["RESTARTING"], "RESTARTING"),
        (["INITIALIZING"], "INITIALIZING"),
        (["CANCELLING"], "CANCELLING"),
    ],
)
def test_finds_the_job_that_has_not_ended(states: list[str], expected: str | None) -> None:
    jobs = [Job(str(number), "patients", state) for number, state in enumerate(states)]
    job = running_job([Job("x", "smoke", "RUNNING"), *jobs], "patients")
    assert (job and job.state) == expected


def test_restores_the_newest_usable_checkpoint_of_any_job() -> None:
    retained = checkpoints(OLD, NEW, OLD)
    assert to_restore([], ()) is None
    assert to_restore(retained, ()) == retained[2]
    assert to_restore(retained, {"s3://x/chk-2"}) == retained[1]
    assert to_restore(retained, {checkpoint.url for checkpoint in retained}) is None


def test_keeps_checkpoints_of_a_previous_job_until_the_new_job_has_enough() -> None:
    assert outdated(checkpoints(OLD, OLD, NEW, NEW), NEW) == []
    assert outdated(checkpoints(OLD, NEW, NEW, NEW), NEW) == [OLD]
    assert outdated(checkpoints(NEW, NEW, NEW), NEW) == []


def test_back_off_doubles_up_to_a_minute() -> None:
    back_off = BackOff()
    assert [back_off.failed() for _ in range(7)] == [2, 4, 8, 16, 32, 60, 60]


def test_back_off_is_reset_after_the_job_has_run_for_two_minutes() -> None:
    back_off = BackOff()
    back_off.failed()
    back_off.failed()
    back_off.healthy(1000.0)
    back_off.healthy(1119.0)
    assert back_off.failures == 2
    back_off.healthy(1121.0)
    assert back_off.failed() == 2


@pytest.mark.parametrize(
    "message",
    [
        "java.io.FileNotFoundException: Cannot find meta data file '_metadata' in directory 's3:'",
        "FlinkException: Could not restore keyed state backend for Rank from any of the 1 provided",
        "java.lang.IllegalStateException: Unexpected magic number -1",
        "IllegalStateException: Failed to rollback to checkpoint/savepoint s3://x. Cannot map",
        "java.io.StreamCorruptedException: invalid stream header",
    ],
)
def test_recognises_failures_of_a_checkpoint(message: str) -> None:
    assert is_checkpoint_failure(message)


@pytest.mark.parametrize(
    "message",
    [
        "Flink's JobManager does not answer at http://127.0.0.1:8081",
        "org.apache.kafka.common.errors.TimeoutException: Timed out waiting for a node assignment",
        "NoResourceAvailableException: Could not acquire the minimum required resources.",
        "Could not read checkpoint s3://x/_metadata: java.net.ConnectException: Connection refused",
        "Failed to read s3://x/chk-9/_metadata: SlowDown (503)",
        "",
    ],
)
def test_does_not_blame_the_checkpoint_for_other_failures(message: str) -> None:
    assert not is_checkpoint_failure(message)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param("java.io.EOFException", [False, True], id="a truncated file"),
        pytest.param("java.io.UTFDataFormatException: malformed", [False, True], id="flipped bits"),
        pytest.param("NegativeArraySizeException: -7", [False, True], id="a damaged length"),
        pytest.param("Could not restore keyed state", [True, True], id="Flink names the state"),
        pytest.param("Connection refused", [False, False], id="an outage"),
        pytest.param("TimeoutException: no node", [False, False], id="a slow service"),
        pytest.param("TaskManager shut down", [False, False], id="a killed TaskManager"),
        pytest.param("UnknownTopicOrPartition", [False, False], id="a deleted topic"),
    ],
)
def test_abandons_a_checkpoint_that_fails_repeatedly_unless_a_service_is_down(
    message: str, expected: list[bool]
) -> None:
    assert [abandons(message, restores) for restores in (1, 2)] == expected


@dataclass
class Cluster:
    """A cluster, and its client: the job runs if its checkpoint, or the start without, is intact.

    `retries` are checkpoints that Flink accepts and then fails to restore, again and again.
    """

    damaged: frozenset[str | None] = frozenset()
    error: str = "java.io.EOFException"
    retries: frozenset[str] = frozenset()
    accepted_in_time: bool = True
    submitted: list[str | None] = field(default_factory=list)
    jobs_of_cluster: list[Job] = field(default_factory=list)
    restored: str | None = None
    completed: int = 0
    reachable: bool = True
    prepared: int = 0
    stopped: int = 0
    alive: bool = True
    fails_to_start: bool = False

    def prepare(self, *_: object, **__: object) -> "Cluster":
        self.prepared += 1
        if self.fails_to_start:
            raise PlatformError("Flink's client cannot start: no memory")
        return self

    def stop(self) -> None:
        self.stopped += 1

    def submit(self, **options: str) -> str:
        checkpoint = options.get("execution.state-recovery.path")
        self.submitted.append(checkpoint)
        if checkpoint in self.damaged:
            raise PlatformError(f"patients: {self.error}")
        self.restored = checkpoint
        state = "RESTARTING" if checkpoint in self.retries else "RUNNING"
        self.jobs_of_cluster.append(Job(f"{len(self.submitted):032}", "patients", state))
        if state == "RESTARTING" and not self.accepted_in_time:
            raise PlatformError("patients: not done after 180 s")
        return ""

    def checkpoints(self, _: str) -> Checkpoints:
        return Checkpoints(self.completed, 0, 1, None, self.restored)

    def root_exception(self, _: str, since_ms: int = 0) -> str | None:
        assert since_ms
        return self.error

    def cancel(self, job_id: str) -> None:
        (job,) = (job for job in self.jobs_of_cluster if job.id == job_id)
        self.jobs_of_cluster.remove(job)
        self.jobs_of_cluster.append(Job(job_id, job.name, "CANCELED"))

    def overview(self) -> Any:
        return type("Overview", (), {"slots_available": 1})

    def jobs(self) -> list[Job]:
        if not self.reachable:
            raise ServiceUnreachableError("Flink's JobManager does not answer")
        return self.jobs_of_cluster

    def all_tasks_run(self, job_id: str) -> bool:
        return Job(job_id, "patients", "RUNNING") in self.jobs_of_cluster


def watch(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, polls: int) -> Watcher:
    """Poll the cluster, whose store has three checkpoints."""
    monkeypatch.setattr(stream_job, "retained", lambda _: checkpoints(OLD, OLD, OLD))
    watcher = Watcher(
        cluster=cast("FlinkCluster", cluster),
        client=cast("Client", cluster),
        s3=DEFAULT_S3,
        bootstrap_servers="127.0.0.1:1",
        ready=tmp_path / "runs",
        issues=tmp_path / "issues.jsonl",
        damaged=tmp_path / "damaged.json",
    )
    for _ in range(polls):
        watcher.poll()
    return watcher


def alerted(tmp_path: Path) -> list[str]:
    return [issue.subject for issue in recorded_issues(tmp_path / "issues.jsonl", 0)]


NEWEST, MIDDLE, OLDEST = "s3://x/chk-2", "s3://x/chk-1", "s3://x/chk-0"


def test_the_client_starts_while_the_jobmanager_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(reachable=False)
    watcher = watch(cluster, tmp_path, monkeypatch, 3)
    assert (cluster.prepared, cluster.submitted) == (1, [])
    cluster.reachable = True
    watcher.poll()
    assert (cluster.prepared, cluster.submitted) == (1, [NEWEST])
    watcher.poll()
    assert (cluster.prepared, cluster.stopped) == (1, 0)


def test_a_client_that_has_given_up_is_replaced_when_the_job_is_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(reachable=False, alive=False)
    watcher = watch(cluster, tmp_path, monkeypatch, 3)
    assert (cluster.prepared, cluster.stopped) == (1, 0)
    cluster.reachable = True
    watcher.poll()
    assert (cluster.prepared, cluster.stopped, cluster.submitted) == (2, 1, [NEWEST])


def test_a_client_that_cannot_start_does_not_end_the_watcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(reachable=False, fails_to_start=True)
    watcher = watch(cluster, tmp_path, monkeypatch, 2)
    cluster.reachable, cluster.fails_to_start = True, False
    watcher.poll()
    assert cluster.submitted == [NEWEST]


def test_a_client_that_cannot_start_sets_no_checkpoint_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(fails_to_start=True)
    watcher = watch(cluster, tmp_path, monkeypatch, 4)
    cluster.fails_to_start = False
    watcher.poll()
    assert cluster.submitted == [NEWEST]
    assert alerted(tmp_path) == []


def test_the_client_submits_nothing_if_the_job_still_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(reachable=False)
    cluster.jobs_of_cluster.append(Job("1" * 32, "patients", "RUNNING"))
    watcher = watch(cluster, tmp_path, monkeypatch, 1)
    cluster.reachable = True
    watcher.poll()
    assert (cluster.prepared, cluster.stopped, cluster.submitted) == (1, 1, [])


def test_falls_back_to_the_next_older_checkpoint_with_an_alert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(frozenset({NEWEST}))
    watch(cluster, tmp_path, monkeypatch, 4)
    assert cluster.submitted == [NEWEST, NEWEST, MIDDLE]
    assert alerted(tmp_path) == [f"checkpoint {NEWEST}"]
    assert (tmp_path / "runs").exists()


def test_starts_without_a_checkpoint_if_all_are_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(frozenset({NEWEST, MIDDLE, OLDEST}))
    watch(cluster, tmp_path, monkeypatch, 8)
    assert cluster.submitted == [*(url for url in (NEWEST, MIDDLE, OLDEST) for _ in range(2)), None]
    assert alerted(tmp_path) == [f"checkpoint {url}" for url in (NEWEST, MIDDLE, OLDEST)]


def test_tries_the_checkpoints_again_if_the_job_fails_without_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(frozenset({NEWEST, MIDDLE, OLDEST, None}), "IllegalStateException: a bug")
    watch(cluster, tmp_path, monkeypatch, 8)
    assert cluster.submitted[6:] == [None, NEWEST]


def test_an_outage_sets_no_checkpoint_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(frozenset({NEWEST}), "Connection refused")
    watch(cluster, tmp_path, monkeypatch, 5)
    assert cluster.submitted == [NEWEST] * 5
    assert alerted(tmp_path) == []


def test_a_restarted_process_leaves_damaged_checkpoints_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch(Cluster(frozenset({NEWEST})), tmp_path, monkeypatch, 4)
    restarted = Cluster(frozenset({NEWEST}))
    watch(restarted, tmp_path, monkeypatch, 2)
    assert restarted.submitted == [MIDDLE]
    assert alerted(tmp_path) == [f"checkpoint {NEWEST}"]


def test_checkpoints_that_are_tried_again_are_no_longer_aside_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = frozenset({NEWEST, MIDDLE, OLDEST, None})
    watch(Cluster(every, "IllegalStateException: a bug"), tmp_path, monkeypatch, 7)
    restarted = Cluster()
    watch(restarted, tmp_path, monkeypatch, 1)
    assert restarted.submitted == [NEWEST]


@pytest.mark.parametrize("content", ["", "{", "7", '["a"', "null"])
def test_an_unreadable_list_of_damaged_checkpoints_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "damaged.json").write_text(content)
    cluster = Cluster()
    watch(cluster, tmp_path, monkeypatch, 2)
    assert cluster.submitted == [NEWEST]


LOOP = "Could not restore keyed state backend for Rank from any of the 1 provided"


def test_a_restarted_process_ends_a_restore_that_flink_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(error=LOOP, restored=f"{NEWEST}/_metadata")
    cluster.jobs_of_cluster.append(Job("d" * 32, "patients", "RESTARTING"))
    watch(cluster, tmp_path, monkeypatch, 3)
    assert cluster.submitted == [MIDDLE]
    assert alerted(tmp_path) == [f"checkpoint {NEWEST}"]


def test_ends_a_repeated_restore_whose_submission_seemed_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(error=LOOP, retries=frozenset({NEWEST}), accepted_in_time=False)
    watch(cluster, tmp_path, monkeypatch, 4)
    assert cluster.submitted == [NEWEST, MIDDLE]


@pytest.mark.parametrize(
    "error",
    [
        "IllegalStateException: a bug",
        "CorruptRecordException: Record is corrupt",
        "the Connector was restored from checkpoint 7 and its message cannot be read",
    ],
)
def test_a_running_job_that_fails_for_another_reason_keeps_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    monkeypatch.setattr(stream_job, "RESTORE_SECONDS", -1.0)
    cluster = Cluster(error=error, restored=NEWEST, completed=7)
    cluster.jobs_of_cluster.append(Job("d" * 32, "patients", "RESTARTING"))
    watch(cluster, tmp_path, monkeypatch, 5)
    assert (cluster.submitted, alerted(tmp_path)) == ([], [])


def test_a_running_job_whose_own_checkpoint_is_damaged_falls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(error=LOOP, restored=NEWEST, completed=7)
    cluster.jobs_of_cluster.append(Job("d" * 32, "patients", "RESTARTING"))
    watch(cluster, tmp_path, monkeypatch, 3)
    assert cluster.submitted == [MIDDLE]


def test_jobs_that_failed_before_the_process_started_say_nothing_about_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch(Cluster(frozenset({NEWEST})), tmp_path, monkeypatch, 4)
    cluster = Cluster(frozenset({NEWEST}), jobs_of_cluster=[Job("d" * 32, "patients", "FAILED")])
    watch(cluster, tmp_path, monkeypatch, 2)
    assert cluster.submitted == [MIDDLE]
