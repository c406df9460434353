"""Dagster's code server: definitions loaded once for all, runs started, lost runs told.

`python -m diabetes_platform.local.dagster.code_server --port PORT`. Each run has a process of
its own, which ends with this one.
"""

import argparse
import logging
import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Collection, Sequence

import dagster as dg

MODULE = "diabetes_platform.definitions"
LOCATION = "diabetes_platform"
GRPC_INFO_TAG = ".dagster/grpc_info"
"""Dagster's tag of a run that a code server started."""
WATCH_SECONDS = 10.0
_PARENT_SECONDS = 0.1

logger = logging.getLogger("diabetes_platform.code_server")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until told to stop."""
    from diabetes_platform.local.dagster.run_processes import fork_runs

    given = _parser().parse_args(arguments)
    fork_runs()
    with dg.DagsterInstance.get() as instance:
        threading.Thread(target=_watch, args=[instance], daemon=True, name="lost-runs").start()
        sys.argv = ["dagster", "api", "grpc", "--host", given.host, "--port", str(given.port)]
        sys.argv += ["--module-name", MODULE, "--location-name", LOCATION]
        # `python -m dagster` would leave a run's process without a main module, and PySpark's
        # client takes such a process for a doctest.
        runpy.run_module("dagster", run_name="__main__")


def fail_lost_runs(instance: dg.DagsterInstance, workers: Collection[int | None]) -> list[str]:
    """Mark the started runs as failed whose process is none of `workers`; return their ids.

    Dagster itself notices a run's killed process, but neither that the code server was killed
    with it, nor anything more once its database was away. Failed like this, a run is retried.
    """
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    lost = []
    for run in instance.get_runs(started):
        if GRPC_INFO_TAG not in run.tags:
            continue
        worker = _worker(instance, run.run_id)
        if worker is None or worker in workers:
            continue
        # What the process had to say it has said: it may have ended well in the meantime.
        now = instance.get_run_by_id(run.run_id)
        if now is not None and not now.is_finished:
            instance.report_run_failed(now, f"The process of this run (pid {worker}) is gone.")
            lost.append(run.run_id)
    return lost


def _worker(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """Return the process id that the run's own process reported first."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        if entry.dagster_event is not None:
            pid = entry.dagster_event.engine_event_data.metadata.get("pid")
            if pid is not None:
                return int(str(pid.value))
    return None


def _watch(instance: dg.DagsterInstance) -> None:
    pause = threading.Event()
    while True:
        # First, too: two threads that import at once would deadlock.
        pause.wait(WATCH_SECONDS)
        try:
            # Asking also collects those that have ended.
            workers = [child.pid for child in multiprocessing.active_children()]
            lost = fail_lost_runs(instance, workers)
        except Exception as error:  # noqa: BLE001 - the database may be away: ask again later
            logger.warning("Lost runs not looked for: %s", type(error).__name__)
        else:
            for run_id in lost:
                logger.warning("Run %s has lost its process and was marked as failed", run_id)


def end_with_code_server() -> None:
    """From now on, end this process of a run at once when its code server has ended."""

    def wait() -> None:
        # It is known a moment after this module was read.
        while (server := multiprocessing.parent_process()) is None:
            time.sleep(_PARENT_SECONDS)
        server.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True, name="end-with-code-server").start()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="code_server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    return parser


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":
    # A run whose code server was killed could neither be watched nor stopped, and would go on
    # beside its own retry.
    end_with_code_server()
