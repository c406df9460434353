"""Dagster's code server: loads the definitions, starts runs, and fails runs that are lost.

`python -m diabetes_platform.local.dagster.code_server --port PORT`. Each run has its
own process, which ends with the server. Other options are those of `dagster api grpc`.
"""

import logging
import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Collection

import dagster as dg

from diabetes_platform.local.ports import HOST

MODULE = "diabetes_platform.definitions"
LOCATION = "diabetes_platform"
GRPC_INFO_TAG = ".dagster/grpc_info"
"""Dagster's tag of a run that a code server started."""
WATCH_SECONDS = 10.0
_PARENT_SECONDS = 0.1

logger = logging.getLogger("diabetes_platform.code_server")


def main() -> None:
    """Serve until a signal ends the process."""
    from diabetes_platform.local.dagster.run_processes import fork_runs

    fork_runs()
    with dg.DagsterInstance.get() as instance:
        threading.Thread(target=_watch, args=[instance], daemon=True, name="lost-runs").start()
        # After `python -m dagster` the process of a run has no main module, and PySpark takes such
        # a process for a doctest.
        module = ["--module-name", MODULE, "--location-name", LOCATION]
        sys.argv = ["dagster", "api", "grpc", "--host", HOST, *module, *sys.argv[1:]]
        runpy.run_module("dagster", run_name="__main__")


def fail_lost_runs(instance: dg.DagsterInstance, workers: Collection[int | None]) -> list[str]:
    """Mark started runs whose process is not in `workers` as failed, and return their ids.

    Such a run is then retried. Dagster itself notices that a run's process was killed, but not if
    the code server was killed as well or the database was down at that time.
    """
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    lost = []
    for run in instance.get_runs(started):
        if GRPC_INFO_TAG not in run.tags:
            continue
        worker = _worker(instance, run.run_id)
        if worker is None or worker in workers:
            continue
        # The run may have ended successfully since it was listed.
        current = instance.get_run_by_id(run.run_id)
        if current is not None and not current.is_finished:
            message = f"The process of this run (pid {worker}) has ended."
            instance.report_run_failed(current, message)
            lost.append(run.run_id)
    return lost


def _worker(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """Return the process id that the process of the run reported first."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        if entry.dagster_event is not None:
            pid = entry.dagster_event.engine_event_data.metadata.get("pid")
            if pid is not None:
                return int(str(pid.value))
    return None


def _watch(instance: dg.DagsterInstance) -> None:
    pause = threading.Event()
    while True:
        # Also before the first check: two threads that import at the same time would deadlock.
        pause.wait(WATCH_SECONDS)
        try:
            # This call also joins the children that have ended.
            workers = [child.pid for child in multiprocessing.active_children()]
            lost = fail_lost_runs(instance, workers)
        except Exception as error:  # noqa: BLE001 - the database may be down: the next check repeats it
            logger.warning("Could not check for lost runs: %s", type(error).__name__)
        else:
            for run_id in lost:
                logger.warning("Run %s has lost its process and was marked as failed", run_id)


def end_with_code_server() -> None:
    """End this process, which executes a run, as soon as its code server has ended."""

    def wait() -> None:
        # multiprocessing sets it shortly after this module is imported.
        while (server := multiprocessing.parent_process()) is None:
            time.sleep(_PARENT_SECONDS)
        server.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True, name="end-with-code-server").start()


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":
    # A run of a killed code server could not be terminated, and would run in parallel to its retry.
    end_with_code_server()
