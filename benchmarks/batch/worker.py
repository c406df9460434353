"""One process of one engine: a cold run, then a warm one on a fresh lake and database.

`python -m benchmarks.batch.worker` reads its job as JSON from standard input and prints JSON.
"""

import dataclasses
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.batch.memory import cpu_seconds, peak_mib, reset_peaks
from benchmarks.batch.steps import Steps


@dataclass(frozen=True)
class Job:
    """The job of a worker: one run for each (lake, url); `remote` None is Sail.

    `started` is the parent's monotonic clock before anything was started for this job,
    `server_pids` are the engine's processes besides the worker's own.
    """

    engine: str
    source: str
    targets: tuple[tuple[str, str], ...]
    remote: str | None
    server_pids: tuple[int, ...]
    started: float


@dataclass(frozen=True)
class Run:
    """One run: seconds in all and by step, and the engine's CPU time and peak memory."""

    seconds: float
    cpu_seconds: float
    steps: dict[str, float]
    peak_mib: float


def work(job: Job) -> list[Run]:
    """Run the job; the first run counts from `job.started`, so with processes and imports."""
    pids = (os.getpid(), *job.server_pids)
    runs: list[Run] = []
    started = job.started
    for lake, url in job.targets:
        if runs:
            # No run pays for dirty pages of the previous run.
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CHECKPOINT")
            reset_peaks(pids)
            started = time.monotonic()
        cpu_before = cpu_seconds(pids) if runs else 0.0
        steps = _run(job, Path(lake), url)
        seconds = time.monotonic() - started
        cpu = cpu_seconds(pids) - cpu_before
        runs.append(Run(seconds, cpu, steps.seconds, peak_mib(pids)))
    return runs


def _run(job: Job, lake: Path, url: str) -> Steps:
    # Imported here: importing the one engine's libraries is part of that engine's cold run only.
    if job.engine == "script":
        from benchmarks.batch import script_path  # noqa: PLC0415

        return script_path.run(Path(job.source), lake, url)
    from benchmarks.batch import platform_path  # noqa: PLC0415

    return platform_path.run(Path(job.source), lake, url, job.remote)


def main() -> None:
    """Do the job of standard input."""
    document = json.load(sys.stdin)
    runs = work(Job(**document))
    json.dump([dataclasses.asdict(run) for run in runs], sys.stdout)


if __name__ == "__main__":
    main()
