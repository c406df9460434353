"""The lake's Delta tables: location, reading, snapshots, commit history and maintenance."""

import functools
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from diabetes_platform.contract.s3 import DEFAULT_S3, S3, is_s3_url
from diabetes_platform.contract.tables import Table
from diabetes_platform.lake.arrow import arrow_schema, row_schema

if TYPE_CHECKING:
    import pyarrow.dataset as ds

MAINTENANCE = frozenset({"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES"})
"""Operations that change files or settings and no row."""
KEPT_FOR_GOOD = {"delta.enableExpiredLogCleanup": "false"}
"""The configuration of a table each of whose versions can be read again at any later time."""


class LakeError(RuntimeError):
    """A Delta table that is not there, or lacks what is asked of it; the message names it."""


@dataclass(frozen=True)
class DeltaPath:
    """A Delta table's directory or URL; `s3` says how the URL is reached.

    Each method raises StorageError where S3 cannot be used as asked.
    """

    path: str
    s3: S3 = DEFAULT_S3

    @property
    def for_spark(self) -> str:
        """The path in Spark's spelling: Hadoop knows S3 as `s3a://`."""
        return re.sub(r"^s3://", "s3a://", self.path)

    @property
    def storage_options(self) -> dict[str, str]:
        """What deltalake needs besides the path."""
        return self.s3.for_deltalake() if is_s3_url(self.path) else {}

    def exists(self) -> bool:
        """Whether the table has at least one version."""
        with self.s3.errors(self.path):
            return bool(DeltaTable.is_deltatable(self.path, self.storage_options))

    def open(self, version: int | None = None) -> DeltaTable:
        """Open `version`, or the newest; LakeError names a path that has none."""
        table = self.find(version)
        if table is None:
            raise LakeError(f"{self.path}: no Delta table at this path")
        return table

    def find(self, version: int | None = None) -> DeltaTable | None:
        """Open `version`, or the newest; None where there is no table."""
        # To ask first whether there is one takes as long again, the longer the table's log is.
        try:
            with self.s3.errors(self.path):
                return DeltaTable(self.path, version=version, storage_options=self.storage_options)
        except TableNotFoundError:
            return None

    def version(self) -> int:
        """Return the newest version; LakeError names a path that has none."""
        return self.open().version()

    def version_of_rows(self) -> int | None:
        """Return the newest version that changed rows; LakeError names a path that has none.

        None where the log goes back to maintenance only.
        """
        table = self.open()
        with self.s3.errors(self.path):
            history = table.history()
        rows = (each["version"] for each in history if each["operation"] not in MAINTENANCE)
        return next((int(version) for version in rows), None)

    def create(
        self,
        table: Table,
        *,
        partition_by: str | None = None,
        configuration: Mapping[str, str | None] | None = None,
    ) -> None:
        """Create the empty table with the contract's schema unless it is there.

        Spark would infer one from the first batch: Sail makes a column NOT NULL that happens to
        have no NULL in it.
        """
        if self.exists():
            return
        try:
            with self.s3.errors(self.path):
                DeltaTable.create(
                    self.path,
                    arrow_schema(table),
                    mode="ignore",
                    partition_by=partition_by,
                    configuration=configuration,
                    storage_options=self.storage_options,
                )
        except CommitFailedError:
            # Another process made it meanwhile.
            if not self.exists():
                raise


@dataclass(frozen=True)
class Lake:
    """The root of the Delta tables: a directory or an S3 URL, which `s3` says how to reach."""

    root: str
    s3: S3 = DEFAULT_S3

    def table(self, table: Table) -> DeltaPath:
        """Return where `table` lies; nothing is read or made."""
        return DeltaPath(f"{self.root.rstrip('/')}/{table.name}", self.s3)

    def stream(
        self,
        table: Table,
        columns: tuple[str, ...],
        where: dict[str, str],
        version: int | None = None,
    ) -> pa.RecordBatchReader:
        """Stream `columns` of the rows whose text columns equal `where`, by default the newest.

        Memory holds a few batches only, however long the table is.
        """
        scanner = self._dataset(table, where, version).scanner(
            columns=list(columns),
            filter=_all_equal(where),
            batch_size=65_536,
            batch_readahead=2,
            fragment_readahead=1,
        )
        return scanner.to_reader()

    def days_since(
        self,
        table: Table,
        since: datetime,
        columns: Sequence[str] | None = None,
        where: "ds.Expression | None" = None,
    ) -> pa.Table:
        """Read the days (UTC) of `table` from that of `since` on; of no table no rows.

        `table` is one that lies by `day`; rows that are not `where` are left out while it is read.
        Raises StorageError.
        """
        target = self.table(table)
        names = list(table.column_names if columns is None else columns)
        if (opened := target.find()) is None:
            return row_schema(table).empty_table().select(names)
        import pyarrow.dataset as ds

        day = since.astimezone(UTC).date().isoformat()
        with self.s3.errors(target.path):
            dataset = opened.to_pyarrow_dataset(file_pruning_predicate=[("day", ">=", day)])
            wanted = ds.field("day") >= day
            return dataset.to_table(
                columns=names, filter=wanted if where is None else wanted & where
            )

    def count(self, table: Table, where: dict[str, str], version: int | None = None) -> int:
        """Count the rows whose text columns equal `where`; no other column is read."""
        with self.s3.errors(self.table(table).path):
            rows: int = self._dataset(table, where, version).count_rows(filter=_all_equal(where))
        return rows

    def _dataset(
        self, table: Table, where: dict[str, str], version: int | None = None
    ) -> "ds.Dataset":
        """Open the files of `table` that may hold such rows, as its log knows."""
        opened = self.table(table).open(version)
        partitioned = opened.metadata().partition_columns
        pruning = [(name, "=", value) for name, value in where.items() if name in partitioned]
        return opened.to_pyarrow_dataset(file_pruning_predicate=pruning or None)

    def snapshot(
        self,
        table: Table,
        rows: pa.Table,
        content_hash: str,
        told: Mapping[str, str] | None = None,
    ) -> tuple[int, bool]:
        """Make `rows` the newest version of `table`; return the version and whether it was added.

        The same content as the newest version's adds none. What is `told` stands in the commit.
        Every version of the table can be read again for good.
        """
        target = self.table(table)
        if (current := target.find()) is not None:
            if current.history(1)[0].get("content_hash") == content_hash:
                return current.version(), False
            with self.s3.errors(target.path):
                _keep_for_good(current)
        said = {"content_hash": content_hash, **(told or {})}
        with self.s3.errors(target.path):
            write_deltalake(
                target.path,
                rows,
                mode="overwrite",
                # The contract may have another column by now.
                schema_mode="overwrite",
                configuration=KEPT_FOR_GOOD,
                storage_options=target.storage_options,
                commit_properties=CommitProperties(custom_metadata=said),
            )
        return target.version(), True


def _keep_for_good(table: DeltaTable) -> None:
    """Set a table right that was made without: a setting given with rows counts at its making."""
    lacking = KEPT_FOR_GOOD.items() - table.metadata().configuration.items()
    if lacking:
        table.alter.set_table_properties(dict(lacking))


def _all_equal(where: dict[str, str]) -> "ds.Expression | None":
    # It brings pandas along, which the code location need not load.
    import pyarrow.dataset as ds

    terms = [ds.field(name) == value for name, value in where.items()]
    return functools.reduce(operator.and_, terms) if terms else None


@dataclass(frozen=True, slots=True)
class Commit:
    """A version that changed rows; `metadata` is its commit info."""

    version: int
    written_at: datetime
    metadata: Mapping[str, Any]


def commits(target: DeltaPath) -> list[Commit]:
    """Return the versions that changed rows, newest first; LakeError names a path without one.

    Raises StorageError.
    """
    table = target.open()
    with target.s3.errors(target.path):
        history = table.history()
    return [
        Commit(int(each["version"]), datetime.fromtimestamp(each["timestamp"] / 1000, tz=UTC), each)
        for each in history
        if each["operation"] not in MAINTENANCE
    ]


def commit_as_of(target: DeltaPath, moment: datetime) -> Commit:
    """Return the newest version that was there at `moment`, by the clock of its writer.

    Raises LakeError where there was none, and ValueError for a moment without a time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"time: given {moment.isoformat()} without a zone, allowed one with it")
    known = commits(target)
    found = next((each for each in known if each.written_at <= moment), None)
    if found is None:
        first = known[-1].written_at if known else None
        since = f"{first:%Y-%m-%dT%H:%M:%S.%fZ} or later" if first else "a table with rows"
        raise LakeError(f"{target.path}: given {moment.isoformat()}, allowed {since}")
    return found


TIME_TRAVEL = timedelta(days=30)
"""So long a version that was replaced can still be read."""


@dataclass(frozen=True, slots=True)
class Maintained:
    """What was done to a table: files that were merged and made of them, files taken away."""

    merged: int
    made: int
    removed: int
    version: int


def maintain(lake: Lake, table: Table, keep: timedelta = TIME_TRAVEL) -> Maintained | None:
    """Merge the small files of a table and remove what no version younger than `keep` needs.

    Returns None where there is no table. No row changes. Raises StorageError, and
    CommitFailedError where another writer was faster.
    """
    target = lake.table(table)
    opened = target.find()
    if opened is None:
        return None
    with lake.s3.errors(target.path):
        compacted = opened.optimize.compact()
        hours = int(keep.total_seconds() // 3600)
        # Its commits take expired logs away too, unless the table is kept for good.
        removed = opened.vacuum(hours, dry_run=False, enforce_retention_duration=True)
        opened.create_checkpoint()
    return Maintained(
        merged=int(compacted["numFilesRemoved"]),
        made=int(compacted["numFilesAdded"]),
        removed=len(removed),
        version=opened.version(),
    )
