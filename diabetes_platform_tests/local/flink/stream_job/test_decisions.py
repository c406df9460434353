"""What is done about the stream's job, as tables of what the cluster and the store say."""

import pytest

from diabetes_platform.clients.flink import Job
from diabetes_platform.local.flink.stream_job.decisions import (
    BackOff,
    Checkpoint,
    current,
    outdated,
    spoils,
    to_restore,
)
from diabetes_platform.local.flink.stream_job.watcher import first_words

OLD, NEW = "a" * 32, "b" * 32


def checkpoints(*of_jobs: str) -> list[Checkpoint]:
    return [Checkpoint(float(at), f"s3://x/chk-{at}", job) for at, job in enumerate(of_jobs)]


@pytest.mark.parametrize(
    ("states", "found"),
    [
        ([], None),
        (["FAILED", "CANCELED", "FINISHED"], None),
        (["FAILED", "RUNNING"], "RUNNING"),
        (["RESTARTING"], "RESTARTING"),
        (["INITIALIZING"], "INITIALIZING"),
        (["CANCELLING"], "CANCELLING"),
    ],
)
def test_a_job_that_has_not_ended_is_not_submitted_again(
    states: list[str], found: str | None
) -> None:
    jobs = [Job(str(number), "patients", state) for number, state in enumerate(states)]
    job = current([Job("x", "smoke", "RUNNING"), *jobs], "patients")
    assert (job and job.state) == found


def test_the_newest_usable_checkpoint_is_restored_of_whatever_job() -> None:
    kept = checkpoints(OLD, NEW, OLD)
    assert to_restore([], ()) is None
    assert to_restore(kept, ()) == kept[2]
    assert to_restore(kept, {"s3://x/chk-2"}) == kept[1]
    assert to_restore(kept, {each.url for each in kept}) is None


def test_an_earlier_jobs_checkpoints_stay_until_there_are_enough_new_ones() -> None:
    assert outdated(checkpoints(OLD, OLD, NEW, NEW), NEW) == []
    assert outdated(checkpoints(OLD, NEW, NEW, NEW), NEW) == [OLD]
    assert outdated(checkpoints(NEW, NEW, NEW), NEW) == []


def test_each_failure_is_waited_for_longer_up_to_a_minute() -> None:
    back_off = BackOff()
    assert [back_off.failed() for _ in range(7)] == [2, 4, 8, 16, 32, 60, 60]


def test_failures_are_forgotten_once_the_job_has_run_for_a_while() -> None:
    back_off = BackOff()
    back_off.failed()
    back_off.failed()
    back_off.healthy(1000.0)
    back_off.healthy(1119.0)
    assert back_off.failures == 2
    back_off.healthy(1121.0)
    assert back_off.failed() == 2


@pytest.mark.parametrize(
    "said",
    [
        "java.io.FileNotFoundException: Cannot find meta data file '_metadata' in directory 's3:'",
        "FlinkException: Could not restore keyed state backend for Rank from any of the 1 provided",
        "java.lang.IllegalStateException: Unexpected magic number -1",
        "IllegalStateException: Failed to rollback to checkpoint/savepoint s3://x. Cannot map",
        "java.io.StreamCorruptedException: invalid stream header",
    ],
)
def test_a_checkpoint_that_flink_cannot_use_is_known_by_what_it_says(said: str) -> None:
    assert spoils(said)


@pytest.mark.parametrize(
    "said",
    [
        "Flink's JobManager does not answer at http://127.0.0.1:8081",
        "org.apache.kafka.common.errors.TimeoutException: Timed out waiting for a node assignment",
        "NoResourceAvailableException: Could not acquire the minimum required resources.",
        "",
    ],
)
def test_other_failures_leave_the_checkpoint_alone(said: str) -> None:
    assert not spoils(said)


def test_a_stack_trace_is_told_by_its_innermost_cause() -> None:
    trace = "org.x.Outer: outer\n\tat Y\nCaused by: org.x.Middle: m\nCaused by: org.x.Inner: why\n"
    assert first_words(trace) == "org.x.Inner: why"
    assert first_words("\nno trace\nmore") == "no trace"
    assert first_words("") == "it does not say why"
