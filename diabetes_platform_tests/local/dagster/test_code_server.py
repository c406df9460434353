"""Lost runs of the code server; `integration/test_dagster.py` tests the whole server."""

import os
from collections.abc import Mapping

import dagster as dg
import pytest

from diabetes_platform.local.dagster.code_server import GRPC_INFO_TAG, fail_lost_runs

STARTED_HERE = {GRPC_INFO_TAG: '{"host": "127.0.0.1", "port": 4266}'}
THIS = os.getpid()
OTHER_PROCESSES = [THIS + 1, None]


def lost_while_running(
    workers: list[int | None], tags: Mapping[str, str]
) -> tuple[bool, dg.DagsterRunStatus]:
    """Return whether a run in this process counts as lost, and its status after that."""
    results: list[tuple[bool, dg.DagsterRunStatus]] = []

    @dg.op
    def check_lost_runs(context: dg.OpExecutionContext) -> None:
        lost = fail_lost_runs(context.instance, workers)
        run = context.instance.get_run_by_id(context.run_id)
        assert run is not None
        results.append((context.run_id in lost, run.status))

    @dg.job(executor_def=dg.in_process_executor)
    def job() -> None:
        check_lost_runs()

    with dg.instance_for_test() as instance:
        job.execute_in_process(instance=instance, tags=tags)
    (result,) = results
    return result


def test_fails_a_run_without_a_process_of_the_server() -> None:
    assert lost_while_running(OTHER_PROCESSES, STARTED_HERE) == (True, dg.DagsterRunStatus.FAILURE)


@pytest.mark.parametrize(
    ("workers", "tags"),
    [([THIS, *OTHER_PROCESSES], STARTED_HERE), (OTHER_PROCESSES, {})],
    ids=["its process runs", "run of another command"],
)
def test_does_not_change_any_other_run(workers: list[int | None], tags: dict[str, str]) -> None:
    assert lost_while_running(workers, tags) == (False, dg.DagsterRunStatus.STARTED)


def test_a_completed_run_is_not_lost() -> None:
    with dg.instance_for_test() as instance:

        @dg.job(executor_def=dg.in_process_executor)
        def job() -> None: ...

        job.execute_in_process(instance=instance, tags=STARTED_HERE)
        assert fail_lost_runs(instance, []) == []
