"""The code server's own part: which runs are lost. It serves in `integration/test_dagster.py`."""

import os
from collections.abc import Mapping

import dagster as dg
import pytest

from diabetes_platform.local.dagster.code_server import GRPC_INFO_TAG, fail_lost_runs

STARTED_HERE = {GRPC_INFO_TAG: '{"host": "127.0.0.1", "port": 4266}'}
THIS = os.getpid()
OTHERS = [THIS + 1, None]


def lost_while_running(
    workers: list[int | None], tags: Mapping[str, str]
) -> tuple[bool, dg.DagsterRunStatus]:
    """Whether a run that is under way in this process counts as lost, and its status then."""
    seen: list[tuple[bool, dg.DagsterRunStatus]] = []

    @dg.op
    def look(context: dg.OpExecutionContext) -> None:
        lost = fail_lost_runs(context.instance, workers)
        run = context.instance.get_run_by_id(context.run_id)
        assert run is not None
        seen.append((context.run_id in lost, run.status))

    @dg.job(executor_def=dg.in_process_executor)
    def job() -> None:
        look()

    with dg.instance_for_test() as instance:
        job.execute_in_process(instance=instance, tags=tags)
    (found,) = seen
    return found


def test_a_run_whose_process_is_none_of_the_servers_is_failed() -> None:
    assert lost_while_running(OTHERS, STARTED_HERE) == (True, dg.DagsterRunStatus.FAILURE)


@pytest.mark.parametrize(
    ("workers", "tags"),
    [([THIS, *OTHERS], STARTED_HERE), (OTHERS, {})],
    ids=["its process lives", "another command runs it"],
)
def test_every_other_run_is_left_alone(workers: list[int | None], tags: dict[str, str]) -> None:
    assert lost_while_running(workers, tags) == (False, dg.DagsterRunStatus.STARTED)


def test_a_run_that_has_ended_is_not_lost() -> None:
    with dg.instance_for_test() as instance:

        @dg.job(executor_def=dg.in_process_executor)
        def job() -> None: ...

        job.execute_in_process(instance=instance, tags=STARTED_HERE)
        assert fail_lost_runs(instance, []) == []
