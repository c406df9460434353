"""MERGE, OPTIMIZE, VACUUM and history of a table of many small files, on both engines.

`python -m benchmarks.maintenance.run [--files N] [--rows N]` prints Markdown, and only if both
tables have the same rows at the end. The server runs Delta's SQL commands: they do what the Python
API `DeltaTable` would ask for, which needs a server plugin over Spark Connect.
"""

import argparse
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from benchmarks.batch.memory import cpu_seconds, peak_mib, reset_peaks
from benchmarks.batch.spark_server import SparkConnectServer
from benchmarks.scratch import scratch_directory
from diabetes_platform.cleaning.session import spark_session
from diabetes_platform.settings import PlatformSettings, inherited_environment

DELTALAKE, SPARK = "deltalake", "spark"
SCHEMA = pa.schema([("id", pa.int64()), ("glucose", pa.float64()), ("note", pa.string())])
_SEED = 20_261_130
_CHANGES = 1_000
Steps = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Run:
    """Seconds by step, CPU seconds and peak memory of one engine, and the files it left."""

    seconds: dict[str, float]
    cpu_seconds: float
    peak_mib: float
    files: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="maintenance", description=__doc__)
    parser.add_argument("--files", type=int, default=2_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args(arguments)
    home = PlatformSettings().home.absolute()
    with scratch_directory(home) as directory:
        create_table(directory / DELTALAKE, options.files, options.rows)
        shutil.copytree(directory / DELTALAKE, directory / SPARK)
        runs = {DELTALAKE: [_in_a_process(DELTALAKE, directory / DELTALAKE)], SPARK: []}
        with SparkConnectServer(home, inherited_environment(), state=directory / "state") as server:
            # The second table is for a warm server.
            shutil.copytree(directory / SPARK, directory / "warm")
            for path in (directory / SPARK, directory / "warm"):
                run = _in_a_process(SPARK, path, server.remote, server.pid or 0)
                runs[SPARK].append(run)
        expected = _rows(directory / DELTALAKE)
        for path in (directory / SPARK, directory / "warm"):
            if not _rows(path).equals(expected):
                raise SystemExit(f"the rows of {path.name} differ from deltalake's")
    print(_report(options, runs[DELTALAKE][0], *runs[SPARK]))


def create_table(path: Path, files: int, rows: int) -> None:
    """Create a table of `files` files in one commit."""
    random = np.random.default_rng(_SEED)
    path.mkdir(parents=True)
    table = DeltaTable.create(str(path), schema=SCHEMA)
    actions = []
    for number, ids in enumerate(np.array_split(np.arange(rows), files)):
        file = path / f"part-{number:05d}.parquet"
        pq.write_table(_patients(ids, random), file, compression="zstd")
        modified_ms = int(file.stat().st_mtime * 1000)
        statistics = f'{{"numRecords": {len(ids)}}}'
        size = file.stat().st_size
        actions.append(
            AddAction(file.name, size, {}, modified_ms, data_change=True, stats=statistics)
        )
    table.create_write_transaction(actions, mode="append", schema=table.schema(), partition_by=[])


def _patients(ids: np.ndarray, random: np.random.Generator) -> pa.Table:
    glucose = random.integers(40, 600, ids.size).astype(float)
    notes = [f"patient {number}" for number in ids]
    return pa.table([ids, glucose, notes], schema=SCHEMA)


def _changes(table: DeltaTable) -> pa.Table:
    """Half of the ids exist, and are not inserted again."""
    existing = table.count()
    ids = np.arange(existing - _CHANGES // 2, existing + _CHANGES // 2)
    return _patients(ids, np.random.default_rng(_SEED))


def deltalake_steps(path: Path) -> Iterator[Steps]:
    """Yield the steps with delta-rs, in this process."""
    table = DeltaTable(str(path))
    changes = _changes(table)
    yield {
        "merge": lambda: (
            table.merge(
                changes, "t.id = s.id", source_alias="s", target_alias="t", streamed_exec=False
            )
            .when_not_matched_insert_all()
            .execute()
        ),
        "optimize": table.optimize.compact,
        "vacuum": lambda: table.vacuum(0, dry_run=False, enforce_retention_duration=False),
        "history": table.history,
    }


def spark_steps(path: Path, remote: str) -> Iterator[Steps]:
    """Yield the steps as Delta's SQL commands on a Connect server."""
    changes = _changes(DeltaTable(str(path)))
    with spark_session(remote) as session:
        session.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
        session.createDataFrame(changes).createOrReplaceTempView("changes")
        table = f"delta.`{path}`"
        merge = (
            f"MERGE INTO {table} t USING changes s ON t.id = s.id WHEN NOT MATCHED THEN INSERT *"
        )
        yield {
            "merge": lambda: session.sql(merge).collect(),
            "optimize": lambda: session.sql(f"OPTIMIZE {table}").collect(),
            "vacuum": lambda: session.sql(f"VACUUM {table} RETAIN 0 HOURS").collect(),
            "history": lambda: session.sql(f"DESCRIBE HISTORY {table}").collect(),
        }


def measure(engine: str, path: Path, remote: str, pid: int) -> Run:
    """Run the steps of an engine; CPU and memory are those of this process and of the server."""
    opened = contextmanager(deltalake_steps)(path)
    if engine == SPARK:
        opened = contextmanager(spark_steps)(path, remote)
    pids = [os.getpid(), pid] if pid else [os.getpid()]
    seconds = {}
    with opened as steps:
        reset_peaks(pids)
        cpu_before = cpu_seconds(pids)
        for name, step in steps.items():
            started = time.monotonic()
            step()
            seconds[name] = time.monotonic() - started
        cpu = cpu_seconds(pids) - cpu_before
    return Run(seconds, cpu, peak_mib(pids), len(list(path.glob("**/*.parquet"))))


def _in_a_process(engine: str, path: Path, remote: str = "", pid: int = 0) -> Run:
    # A spawned process has no main file, and Spark's client then looks for a local Spark, which it
    # does not use.
    os.environ.setdefault("SPARK_HOME", "/")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(measure, engine, path, remote, pid).result()


def _rows(path: Path) -> pa.Table:
    return DeltaTable(str(path)).to_pyarrow_table().select(SCHEMA.names).sort_by("id")


def _report(options: argparse.Namespace, peer: Run, cold: Run, warm: Run) -> str:
    names = list(peer.seconds)
    lines = [
        f"{options.files:,} files, {options.rows:,} rows; equal rows at the end.",
        "",
        f"| engine | {' | '.join(f'{name} s' for name in names)} | total s | ratio | CPU s | MiB |",
        "|---" * (len(names) + 5) + "|",
    ]
    runs = {"deltalake": peer, "Spark Connect, first": cold, "Spark Connect, second": warm}
    for engine, run in runs.items():
        total = sum(run.seconds.values())
        lines.append(
            f"| {engine} | {' | '.join(f'{run.seconds[name]:.2f}' for name in names)} "
            f"| {total:.2f} | {total / sum(peer.seconds.values()):.1f} "
            f"| {run.cpu_seconds:.1f} | {run.peak_mib:,.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
