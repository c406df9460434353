"""Statistics and cleaning of one batch on Apache Spark with 1, 2 and 4 executors of one core.

`python -m benchmarks executors [--rows N] [--executors N …]` prints Markdown; one executor is the
peer of the others. The executors are processes of their own (`local-cluster`), as on a cluster.
With more executors than cores, the CPU seconds show what the division costs.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.batch.generate import SEED, write_patients
from benchmarks.batch.memory import children, cpu_seconds
from benchmarks.batch.spark_server import SparkConnectServer
from benchmarks.scratch import scratch_directory
from diabetes_platform.cleaning.session import spark_session
from diabetes_platform.cleaning.spark_jobs import clean_batch, fit_statistics
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    RAW_PATIENTS,
    STATISTICS_PATIENTS,
)
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.raw import RawBatch, ingest
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PlatformSettings, inherited_environment

_WORKER_MIB = 1024
_ROUNDS = 3
"""The first rounds compile the code of the server and of the executors."""
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Run:
    """Wall-clock seconds, and the CPU seconds of the server and of its executors."""

    executors: int
    seconds: float
    server_cpu: float
    executors_cpu: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="executors", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--executors", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args(arguments)
    home = PlatformSettings().home.absolute()
    with scratch_directory(home) as directory:
        source = directory / "patients.csv"
        write_patients(source, options.rows, SEED)
        lake = Lake(str(directory / "lake"))
        batch = ingest(lake, str(source))
        runs = [measure(home, directory, lake, batch, number) for number in options.executors]
    print(_report(options.rows, runs))


def measure(home: Path, state: Path, lake: Lake, batch: RawBatch, executors: int) -> Run:
    """Clean the batch on a new server with that many executors, and return the last round."""
    master = f"local-cluster[{executors},1,{_WORKER_MIB}]"
    directory, environment = state / f"executors-{executors}", inherited_environment()
    with SparkConnectServer(home, environment, state=directory, master=master) as server:
        for _ in range(_ROUNDS):
            pid = server.pid or 0
            pids = _wait_for_executors(pid, executors)
            before = (cpu_seconds([pid]), cpu_seconds(pids))
            started = time.monotonic()
            _clean(server.remote, lake, batch)
            run = Run(
                executors,
                time.monotonic() - started,
                cpu_seconds([pid]) - before[0],
                cpu_seconds(pids) - before[1],
            )
            print(run, file=sys.stderr)
            if children(pid) != pids:
                raise SystemExit("an executor has ended, so its CPU seconds are unknown")
    return run


def _wait_for_executors(server: int, executors: int) -> list[int]:
    """Return the processes of the executors, which the server starts."""

    def started() -> list[int]:
        pids = children(server)
        return pids if len(pids) == executors else []

    return wait_until(started, timeout=_START_SECONDS, interval=0.2)


def _clean(remote: str, lake: Lake, batch: RawBatch) -> None:
    tables = map(lake.table, (RAW_PATIENTS, STATISTICS_PATIENTS, CLEANED_PATIENTS))
    raw, statistics, cleaned = tables
    with spark_session(remote) as session:
        fit_statistics(session, raw, batch.content_hash, statistics)
    with spark_session(remote) as session:
        clean_batch(session, raw, batch.content_hash, statistics, cleaned)


def _report(rows: int, runs: list[Run]) -> str:
    lines = [
        f"{rows:,} rows, statistics and cleaning, warm",
        "",
        "| executors | s | rows/s | speed-up | CPU s of the executors | of the server |",
        "|---|---|---|---|---|---|",
    ]
    for run in runs:
        speed_up = runs[0].seconds / run.seconds
        lines.append(
            f"| {run.executors} | {run.seconds:.1f} | {rows / run.seconds:,.0f} | {speed_up:.2f} | "
            f"{run.executors_cpu:.1f} | {run.server_cpu:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
