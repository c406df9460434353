"""A batch in the process of a command: exclusive, abandoned runs failed, alerts sent."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.dagster.batch import (
    BATCH,
    IN_PROCESS,
    Follower,
    RunOutcome,
    fail_abandoned_runs,
    require_no_running_batch,
    run_exclusively,
)
from diabetes_platform.local.demo_platform import DemoPlatform
from diabetes_platform.local.locks import BusyError, lock_batch
from diabetes_platform.settings import PlatformSettings

STATUS = dg.DagsterRunStatus


@pytest.fixture
def platform(tmp_path: Path) -> DemoPlatform:
    return DemoPlatform(PlatformSettings(home=tmp_path))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@dg.op
def nothing() -> None:
    """Do nothing."""


def unfinished(
    instance: dg.DagsterInstance,
    tags: dict[str, str],
    status: dg.DagsterRunStatus = STATUS.STARTED,
) -> str:
    """A run in the event log whose process has ended."""

    @dg.job(name="batch")
    def job() -> None:
        nothing()

    return instance.create_run_for_job(job, status=status, tags=tags).run_id


def batch(platform: DemoPlatform, instance: dg.DagsterInstance, *, healthy: bool) -> RunOutcome:
    @dg.asset
    def patients() -> None:
        if not healthy:
            raise ValueError("header: given 3 columns")

    job = dg.define_asset_job("batch", tags=BATCH, executor_def=dg.in_process_executor)
    definitions = dg.Definitions([patients], jobs=[job])
    follower = Follower(lambda _: None, lambda _: None)
    return run_exclusively(platform, instance, definitions, follower)


def status_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


@pytest.mark.parametrize(
    ("tags", "alone", "failed"),
    [
        (IN_PROCESS | BATCH, False, True),
        (IN_PROCESS | BATCH, True, True),
        (BATCH, False, False),
        (BATCH, True, True),
    ],
    ids=["in-process, demo runs", "in-process", "queue's, demo runs", "queue's"],
)
def test_fails_a_run_whose_process_has_ended(
    instance: dg.DagsterInstance, tags: dict[str, str], alone: bool, failed: bool
) -> None:
    run_id = unfinished(instance, tags)
    assert fail_abandoned_runs(instance, alone=alone) == ([run_id] if failed else [])
    assert status_of(instance, run_id) == (STATUS.FAILURE if failed else STATUS.STARTED)


@pytest.mark.parametrize("status", [STATUS.SUCCESS, STATUS.FAILURE, STATUS.CANCELED])
def test_does_not_change_a_completed_run(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    run_id = unfinished(instance, IN_PROCESS | BATCH, status)
    assert fail_abandoned_runs(instance, alone=True) == []
    assert status_of(instance, run_id) == status


def test_rejects_a_batch_beside_one_from_the_queue(
    platform: DemoPlatform, instance: dg.DagsterInstance
) -> None:
    require_no_running_batch(instance, platform.settings)
    run_id = unfinished(instance, BATCH)
    with pytest.raises(PlatformError, match=rf"another batch is running \(.*/runs/{run_id}\)"):
        batch(platform, instance, healthy=True)


def test_rejects_a_batch_beside_one_of_another_command(
    platform: DemoPlatform, instance: dg.DagsterInstance
) -> None:
    with lock_batch(platform.layout), pytest.raises(BusyError, match="another batch"):
        batch(platform, instance, healthy=True)


def test_sends_an_alert_of_a_failed_run_without_a_daemon(
    platform: DemoPlatform, instance: dg.DagsterInstance
) -> None:
    outcome = batch(platform, instance, healthy=False)
    (line,) = platform.settings.alerts.read_text().splitlines()
    alert = json.loads(line)
    assert alert["run_id"] == outcome.run_id
    assert alert["failed_steps"] == ["patients"]
    assert len(outcome.failures) == 1


def test_names_a_channel_that_does_not_deliver_the_alert(
    platform: DemoPlatform, instance: dg.DagsterInstance
) -> None:
    platform.settings.alerts.mkdir(parents=True)
    outcome = batch(platform, instance, healthy=False)
    assert outcome.failures[-1].startswith(f"alert of run {outcome.run_id} failed: log file")


def test_a_successful_run_is_tagged_and_sends_no_alert(
    platform: DemoPlatform, instance: dg.DagsterInstance
) -> None:
    outcome = batch(platform, instance, healthy=True)
    run = instance.get_run_by_id(outcome.run_id)
    assert run is not None
    assert (IN_PROCESS | BATCH).items() <= run.tags.items()
    assert not platform.settings.alerts.exists()
