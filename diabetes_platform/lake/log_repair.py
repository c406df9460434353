"""Damaged Delta logs: finding the first damaged entry, and going back to the version before it.

The commit of a stream table holds rows together with their offsets. So a table of an earlier
version is consistent, and the next ingest run reads the missing rows from Kafka again, as far as
Kafka still has them: see streaming/reread.py.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
from obstore.store import LocalStore, from_url

from diabetes_platform.contract.s3 import is_s3_url
from diabetes_platform.contract.tables import (
    STREAM_PATIENTS,
    STREAM_REJECTED,
    STREAM_WINDOWS,
    Table,
)
from diabetes_platform.lake.delta import DeltaPath, Lake, LakeError
from diabetes_platform.lake.incremental_table import (
    ONLY_ADDS_ROWS,
    IncrementalTable,
    OffsetRange,
)

REPAIRABLE = (STREAM_PATIENTS, STREAM_REJECTED, STREAM_WINDOWS)
"""The tables whose rows an ingest run reads again from Kafka."""
LOG, ASIDE = "_delta_log", "_damaged_log"
_COMMIT = re.compile(rf"{LOG}/(\d{{20}})\.json")
_CHECKPOINT = re.compile(rf"{LOG}/(\d{{20}})\.checkpoint(?:\.[^/]+)?\.parquet")
_METRICS = {
    "add": ("num_target_files_added", "numFilesAdded", "num_added_files"),
    "remove": ("num_target_files_removed", "numFilesRemoved", "num_removed_files"),
}
"""The numbers of files in a commit's metrics, as deltalake names them for each operation."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """The actions of an entry of a Delta log, and what is wrong with it; None if it is complete."""

    actions: tuple[dict[str, Any], ...]
    problem: str | None = None

    @property
    def commit(self) -> dict[str, Any]:
        """The action `commitInfo`; empty if it is missing."""
        return next((a["commitInfo"] for a in self.actions if "commitInfo" in a), {})


@dataclass(frozen=True, slots=True)
class IngestedOffsets:
    """The offsets of an ingest run's commit, in the topic with this id."""

    topic_id: str
    ranges: tuple[OffsetRange, ...]


@dataclass(frozen=True, slots=True)
class LogDamage:
    """What is wrong with a table's log, and the files to set aside, in this order.

    `obstacle` says why they must not be set aside; None if they may. `version` is that of the
    damaged entry; None if only a checkpoint is damaged. `offsets` are those of the intact entries
    after it, and `rebuilt` the days of which they added missing rows.
    """

    table: Table
    problem: str
    paths: tuple[str, ...]
    obstacle: str | None = None
    version: int | None = None
    offsets: tuple[IngestedOffsets, ...] = ()
    rebuilt: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.table.name}: {self.problem}"
        return f"{text}; it cannot be repaired: {self.obstacle}" if self.obstacle else text


def parse_entry(content: bytes) -> LogEntry:
    """Return an entry of a Delta log, with what is wrong with it.

    An entry that was cut at the end of a line is valid for readers, although files are missing.
    """
    try:
        actions = tuple(json.loads(line) for line in content.splitlines() if line.strip())
    except ValueError:
        return LogEntry(
            (), f"is cut off or damaged: its {len(content):,} bytes are not lines of JSON"
        )
    if not all(isinstance(action, dict) and action for action in actions):
        return LogEntry((), "is damaged: a line is no action of a Delta log")
    if not any("commitInfo" in action for action in actions):
        return LogEntry(
            actions, f"is cut off or damaged: its {len(content):,} bytes have no commitInfo"
        )
    entry = LogEntry(actions)
    metrics = entry.commit.get("operationMetrics") or {}
    for action, names in _METRICS.items():
        expected = next((int(metrics[name]) for name in names if name in metrics), 0)
        actual = sum(action in line for line in actions)
        if actual < expected:
            return LogEntry(
                actions, f"is cut off: it has {actual} of {expected} `{action}` actions"
            )
    return entry


def find_damage(lake: Lake, table: Table) -> LogDamage | None:
    """Return the damage of a table's log; None if it has none or the table does not exist.

    Reads the entries since the newest checkpoint, as every reader does. Raises StorageError.
    """
    target = lake.table(table)
    with _store(target) as store:
        if store is None:
            return None
        paths = [entry["path"] for page in obstore.list(store, prefix=LOG) for entry in page]
        commits = {int(match[1]): path for path in paths if (match := _COMMIT.fullmatch(path))}
        checkpoints = [int(match[1]) for path in paths if (match := _CHECKPOINT.fullmatch(path))]
        first, newest = max(checkpoints, default=-1) + 1, max(commits, default=-1)
        entries = {
            version: parse_entry(bytes(obstore.get(store, commits[version]).bytes()))
            for version in range(first, newest + 1)
            if version in commits
        }
    for version in range(first, newest + 1):
        entry = entries.get(version, LogEntry((), "is missing"))
        if entry.problem is not None:
            later = {v: entries[v].commit for v in sorted(entries) if v > version}
            ingested = [commit for commit in later.values() if "offsets" in commit]
            return LogDamage(
                table,
                f"version {version} of {newest} {entry.problem}",
                # The newest one first: the log is valid again whenever the repair ends early.
                tuple(commits[v] for v in sorted(entries, reverse=True) if v >= version),
                _obstacle(table, version, later),
                version,
                tuple(_ingested(commit) for commit in ingested if "rebuilt" not in commit),
                tuple(sorted({commit["day"] for commit in ingested if "rebuilt" in commit})),
            )
    return _checkpoint_damage(target, table, paths) if paths else None


def _checkpoint_damage(target: DeltaPath, table: Table, paths: list[str]) -> LogDamage | None:
    """Return the damage of a log whose entries are complete: that of its newest checkpoint."""
    try:
        target.find()
    except LakeError as error:
        checkpoints = {
            path: int(match[1]) for path in paths if (match := _CHECKPOINT.fullmatch(path))
        }
        newest = max(checkpoints.values(), default=None)
        moved = [path for path, version in checkpoints.items() if version == newest]
        moved += [path for path in paths if path == f"{LOG}/_last_checkpoint"]
        obstacle = None if moved and table in REPAIRABLE else "restore the table from a backup"
        return LogDamage(table, str(error), tuple(moved), obstacle)
    return None


def set_aside(lake: Lake, damage: LogDamage) -> int:
    """Move the files of the damage to `_damaged_log`; return the table's version.

    Raises LakeError if the damage has an obstacle or the table cannot be read afterwards, and
    StorageError.
    """
    if damage.obstacle is not None:
        raise LakeError(str(damage))
    target = lake.table(damage.table)
    with _store(target) as store:
        for path in damage.paths:
            obstore.rename(store, path, path.replace(LOG, ASIDE, 1))
    return target.version()


def _obstacle(table: Table, version: int, later: Mapping[int, dict[str, Any]]) -> str | None:
    if table not in REPAIRABLE:
        return "its rows are not in Kafka: restore it from a backup"
    if version == 0:
        return "it is the first version: restore the table from a backup"
    for later_version, commit in later.items():
        operation = commit.get("operation")
        appends = (commit.get("operationParameters") or {}).get("mode") == "Append"
        if operation is not None and operation not in ONLY_ADDS_ROWS and not appends:
            return f"version {later_version} removes rows ({operation}), which would come back"
    return None


def _ingested(commit: Mapping[str, Any]) -> IngestedOffsets:
    texts = filter(None, commit["offsets"].split(","))
    return IngestedOffsets(commit["topic_id"], tuple(map(OffsetRange.parse, texts)))


def offsets_before(
    lake: Lake, damage: LogDamage, topic: str, topic_id: str, partitions: Iterable[int]
) -> dict[int, int]:
    """Return the committed offset of each partition in the version before the damaged entry.

    Raises StorageError, and LakeError if the damage is not that of an entry.
    """
    if damage.version is None:
        raise LakeError(f"{damage}: no entry is damaged")
    delta = lake.table(damage.table).open(damage.version - 1)
    table = IncrementalTable(lake, damage.table, delta)
    return table.committed_offsets(topic, topic_id, partitions)


@contextmanager
def _store(target: DeltaPath) -> Iterator[Any]:
    """Yield the store of the table's directory; None if a local one does not exist."""
    with target.s3.errors(target.path):
        if is_s3_url(target.path):
            yield from_url(target.path, **target.s3.for_obstore())
        elif Path(target.path).is_dir():
            yield LocalStore(target.path)
        else:
            yield None
