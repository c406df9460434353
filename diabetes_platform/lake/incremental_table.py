"""Delta tables that are ingested from Kafka: new rows and their offsets in one commit.

The table itself records its progress: each commit stores, as a Delta application transaction, the
newest offset of each partition up to which no message is missing. Each commit adds a small file, so
the small files of a day are compacted once there are many of them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties

from diabetes_platform.contract.tables import Table
from diabetes_platform.lake.delta import KEEP_LOG, MAINTENANCE, Lake, commit_without_rows

_ZSTD = WriterProperties(compression="ZSTD")
SMALL_FILE_BYTES = 2**20
"""Files below this size are compacted into files of about this size."""
MAX_SMALL_FILES = 16
"""The number of small files at which a day is compacted, which takes a twentieth of a second."""

_OFFSET_RANGE = re.compile(r"(\d+):(\d+)-(\d+)")
ONLY_ADDS_ROWS = MAINTENANCE | {"CREATE TABLE", "MERGE"}
"""Operations that remove no row: merges into these tables only insert."""


@dataclass(frozen=True, slots=True, order=True)
class OffsetRange:
    """Offsets `first` to `last` of one partition, both included."""

    partition: int
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.first}-{self.last}"

    def __len__(self) -> int:
        return self.last - self.first + 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the range written as `partition:first-last`; ValueError for any other text."""
        match = _OFFSET_RANGE.fullmatch(text)
        if match is None or int(match[2]) > int(match[3]):
            raise ValueError(
                f"offset range is {text!r}; allowed: <partition>:<first>-<last>, first <= last"
            )
        return cls(*map(int, match.groups()))


@dataclass(frozen=True, slots=True)
class OffsetCommit:
    """The offsets that one commit covers: at most one range of each partition, all of `day`.

    `advances` is False if earlier offsets are missing from the table: the rows are then added
    without a change of the committed offsets.
    """

    topic: str
    topic_id: str
    day: str
    ranges: tuple[OffsetRange, ...]
    advances: bool = True

    @property
    def committed(self) -> dict[int, int]:
        """The offsets that this commit records as committed, by partition."""
        return {r.partition: r.last for r in self.ranges} if self.advances else {}

    @property
    def properties(self) -> CommitProperties:
        """The entry in the Delta log."""
        metadata = {
            "topic": self.topic,
            "topic_id": self.topic_id,
            "day": self.day,
            "offsets": ",".join(map(str, self.ranges)),
        }
        if not self.advances:
            metadata["rebuilt"] = "true"
        return _commit_properties(self.topic, self.topic_id, self.committed, metadata)


@dataclass(frozen=True, slots=True)
class DayHistory:
    """The table's log about one day.

    `rows_added` is the number of rows that ingest runs inserted. `versions_before_removal` are the
    versions before each commit that removed rows. `complete` is True if the log begins before the
    day or with the table's first version.
    """

    rows_added: int
    versions_before_removal: tuple[int, ...]
    complete: bool


@dataclass(frozen=True, slots=True, eq=False)
class IncrementalTable:
    """An open table; its key columns decide whether a row is already present.

    Every method may raise StorageError.
    """

    lake: Lake
    contract: Table
    delta: DeltaTable

    @classmethod
    def find(cls, lake: Lake, contract: Table) -> Self | None:
        """Open the table; None if it does not exist."""
        delta = lake.table(contract).find()
        return None if delta is None else cls(lake, contract, delta)

    @classmethod
    def open_or_create(cls, lake: Lake, contract: Table) -> Self:
        """Open the table with all columns of the contract; create it if it does not exist.

        Raises LakeError if the contract removes or retypes a column.
        """
        configuration = _configuration(contract)
        delta = lake.table(contract).create(contract, "day", configuration)
        return cls(lake, contract, delta)

    @property
    def version(self) -> int:
        """The version that is open."""
        return int(self.delta.version())

    def committed_offsets(
        self, topic: str, topic_id: str, partitions: Iterable[int]
    ) -> dict[int, int]:
        """Return the newest offset of each partition up to which no message is missing.

        Partitions that were never ingested are left out.
        """
        with self.lake.s3.errors(self._path):
            offsets = {
                partition: self.delta.transaction_version(f"{topic}/{topic_id}/{partition}")
                for partition in partitions
            }
        return {p: offset for p, offset in offsets.items() if offset is not None}

    def commit_offsets(self, topic: str, topic_id: str, offsets: Mapping[int, int]) -> None:
        """Commit offsets without adding rows."""
        metadata = {"topic": topic, "topic_id": topic_id}
        with self.lake.s3.errors(self._path):
            commit_without_rows(self.delta, _commit_properties(topic, topic_id, offsets, metadata))

    def append(self, rows: pa.Table, commit: OffsetCommit) -> int:
        """Add the rows whose key is new and the offsets in one commit; return the number of rows.

        `rows` has the table's schema and each key once. Appending the same rows again adds nothing.
        Only files that may hold one of the keys are read, so the cost does not grow with the table.
        Raises CommitFailedError if another writer committed first.
        """
        with self.lake.s3.errors(self._path):
            added = self._insert_new(rows, commit.properties) if rows.num_rows else 0
            if not added and commit.committed:
                # A merge that inserts nothing writes no version, so the offsets need their own.
                commit_without_rows(self.delta, commit.properties)
            self._compact_small_files(commit.day)
        return added

    def count_rows(self, day: str) -> int:
        """Count the rows of a day from the log, without opening a data file."""
        files = self._files_of(day)
        return int(pc.sum(files["num_records"]).as_py()) if files.num_rows else 0

    def history_of(self, day: str) -> DayHistory:
        """Return what the table's log records about a day."""
        with self.lake.s3.errors(self._path):
            return day_history(self.delta.history(), day)

    @property
    def _path(self) -> str:
        return self.lake.table(self.contract).path

    def _insert_new(self, rows: pa.Table, properties: CommitProperties) -> int:
        same_key = " AND ".join(f"target.{name} = source.{name}" for name in self.contract.key)
        metrics = (
            self.delta.merge(
                rows,
                f"{same_key} AND ({_search_bounds(rows)})",
                source_alias="source",
                target_alias="target",
                streamed_exec=False,
                writer_properties=_ZSTD,
                commit_properties=properties,
                post_commithook_properties=KEEP_LOG,
            )
            .when_not_matched_insert_all()
            .execute()
        )
        return int(metrics["num_target_rows_inserted"])

    def _files_of(self, day: str) -> pa.Table:
        with self.lake.s3.errors(self._path):
            files = pa.table(self.delta.get_add_actions(flatten=True))
        # The list of an empty table has no columns.
        return files.filter(pc.equal(files["partition.day"], day)) if files.num_rows else files

    def _compact_small_files(self, day: str) -> None:
        files = self._files_of(day)
        if files.num_rows <= MAX_SMALL_FILES:
            return
        small = files.filter(pc.less(files["size_bytes"], SMALL_FILE_BYTES))
        if small.num_rows > MAX_SMALL_FILES:
            self.delta.optimize.compact(
                [("day", "=", day)],
                target_size=SMALL_FILE_BYTES,
                writer_properties=_ZSTD,
                post_commithook_properties=KEEP_LOG,
            )


def day_history(commits: Iterable[Mapping[str, Any]], day: str) -> DayHistory:
    """Return what `commits`, in the form of deltalake's `history()`, record about `day`."""
    rows_added, versions_before_removal, complete = 0, [], False
    start_ms = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000
    for commit in commits:
        version, operation = int(commit["version"]), commit.get("operation")
        complete = complete or version == 0 or int(commit["timestamp"]) < start_ms
        if operation == "MERGE" and commit.get("day") == day and commit.get("rebuilt") is None:
            metrics = commit.get("operationMetrics", {})
            rows_added += int(metrics.get("num_target_rows_inserted", 0))
        appends = commit.get("operationParameters", {}).get("mode") == "Append"
        if version > 0 and operation not in ONLY_ADDS_ROWS and not appends:
            versions_before_removal.append(version - 1)
    return DayHistory(rows_added, tuple(sorted(versions_before_removal)), complete=complete)


def _configuration(contract: Table) -> dict[str, str | None]:
    """Return the table's Delta properties."""
    indexed = [column for column in contract.columns if column.type != "bytes"]
    return {
        # Opening a table reads every commit since the last checkpoint.
        "delta.checkpointInterval": "10",
        # Columns of bytes are last in the contract, so that they get no statistics.
        "delta.dataSkippingNumIndexedCols": str(len(indexed)),
    }


def _search_bounds(rows: pa.Table) -> str:
    """Return a predicate on file statistics that every row with one of the keys satisfies.

    Changes are bounded by their lsn. Deletions, dead letters and windows have no lsn and are
    bounded by their offset.
    """
    offsets = rows["kafka_offset"]
    bounds = {"kafka_offset": offsets}
    if "lsn" in rows.column_names:
        lsn = rows["lsn"]
        bounds = {"lsn": lsn, "kafka_offset": offsets.filter(pc.is_null(lsn))}
    extremes = {column: pc.min_max(values).as_py() for column, values in bounds.items()}
    return " OR ".join(
        f"target.{column} BETWEEN {extreme['min']} AND {extreme['max']}"
        for column, extreme in extremes.items()
        if extreme["min"] is not None
    )


def _commit_properties(
    topic: str, topic_id: str, offsets: Mapping[int, int], metadata: dict[str, str]
) -> CommitProperties:
    transactions = [Transaction(f"{topic}/{topic_id}/{p}", offset) for p, offset in offsets.items()]
    return CommitProperties(custom_metadata=metadata, app_transactions=transactions)
