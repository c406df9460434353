"""Decisions about the stream job for states of the cluster and of the checkpoint store."""

import pytest

from diabetes_platform.clients.flink import Job
from diabetes_platform.local.flink.job_state import running_job
from diabetes_platform.local.flink.stream_job import (
    BackOff,
    Checkpoint,
    is_checkpoint_failure,
    outdated,
    to_restore,
)

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
        "",
    ],
)
def test_does_not_blame_the_checkpoint_for_other_failures(message: str) -> None:
    assert not is_checkpoint_failure(message)
