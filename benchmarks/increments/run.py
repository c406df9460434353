"""The cost of the thousandth commit beside the first, compared with a plain MERGE.

`python -m benchmarks increments [--increments N --rows N]` fills two tables in turn and prints a
Markdown table. With `--platform` it measures the running platform instead: the latency from a
message's timestamp to its materialization, by phases, in the last `--minutes`.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from benchmarks.increments.latency import print_latency
from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.tables import STREAM_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.incremental_table import IncrementalTable, OffsetCommit, OffsetRange
from diabetes_platform.streaming.rows import PATIENTS, Row

OURS, PEER = "bounds of lsn and offset", "plain MERGE by change"
_SAMPLE = 20
"""Commits at the beginning and at the end whose medians are compared."""
_DAY = "2026-11-24"
_EXAMPLE = {field.name: field.example for field in FEATURES}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    if options.platform:
        print_latency(options.minutes)
        return
    ways: dict[str, Callable[[Lake, pa.Table, OffsetCommit], object]] = {OURS: _ours, PEER: _plain}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with TemporaryDirectory() as folder:
        lakes = {name: Lake(str(Path(folder) / str(n))) for n, name in enumerate(ways)}
        for lake in lakes.values():
            IncrementalTable.open_or_create(lake, STREAM_PATIENTS)
        for number in range(options.increments):
            rows, commit = _increment(number, options.rows)
            for name, way in ways.items():
                started = time.perf_counter()
                way(lakes[name], rows, commit)
                seconds[name].append(time.perf_counter() - started)
        for name, lake in lakes.items():
            _verify(lake, name, options.increments * options.rows)
    _print(seconds, options.rows)


def _increment(number: int, rows: int) -> tuple[pa.Table, OffsetCommit]:
    """Return changes of new and known patients; every tenth is a deletion."""
    first = number * rows
    written_at = datetime.now(UTC)
    commit = OffsetCommit("sink", "id", _DAY, (OffsetRange(0, first, first + rows - 1),))
    return PATIENTS.to_arrow(_row(first + n, written_at) for n in range(rows)), commit


def _row(offset: int, written_at: datetime) -> Row:
    patient = random.randrange(1, 100_000)
    deleted = offset % 10 == 0
    row: Row = {
        "change_id": f"{patient}-{'deleted-id-0-' if deleted else ''}{offset}",
        "day": _DAY,
        "id": patient,
        "op": "d" if deleted else "c",
        "topic_id": "id",
        "kafka_partition": 0,
        "kafka_offset": offset,
        "written_at": written_at,
    }
    return row if deleted else {**row, "lsn": offset, "received_at": written_at, **_EXAMPLE}


def _ours(lake: Lake, rows: pa.Table, commit: OffsetCommit) -> None:
    table = IncrementalTable.open_or_create(lake, STREAM_PATIENTS)
    table.committed_offsets(commit.topic, commit.topic_id, commit.committed)
    table.append(rows, commit)


def _plain(lake: Lake, rows: pa.Table, _commit: OffsetCommit) -> None:
    table = lake.table(STREAM_PATIENTS).open()
    predicate = "target.change_id = source.change_id"
    merger = table.merge(rows, predicate, source_alias="source", target_alias="target")
    merger.when_not_matched_insert_all().execute()


def _verify(lake: Lake, name: str, expected: int) -> None:
    rows = lake.count(STREAM_PATIENTS, {})
    if rows != expected:
        raise SystemExit(f"{name}: {rows} rows, expected {expected}")


def _print(seconds: dict[str, list[float]], rows: int) -> None:
    total = len(seconds[OURS])
    tenth = max(total // 10, _SAMPLE + 1)
    print(f"\n{total} increments of {rows} messages, a commit each; milliseconds, medians of")
    print(f"{_SAMPLE}; every row is there afterwards.\n")
    print(f"| way | first | {tenth}th | {total}th | {total}th by first |")
    print("|---|---|---|---|---|")
    for name, measured in seconds.items():
        # The very first one also loads the engine.
        ends = (_SAMPLE + 1, tenth, total)
        first, middle, last = (statistics.median(measured[e - _SAMPLE : e]) * 1e3 for e in ends)
        print(f"| {name} | {first:.0f} | {middle:.0f} | {last:.0f} | {last / first:.2f} |")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks increments")
    parser.add_argument("--increments", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--platform", action="store_true")
    parser.add_argument("--minutes", type=float, default=5.0)
    return parser.parse_args(arguments)
