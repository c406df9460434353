"""The lake's Delta tables: location, schema evolution, reading, snapshots, history, maintenance."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Schema,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from diabetes_platform.contract.s3 import DEFAULT_S3, S3, is_s3_url
from diabetes_platform.contract.tables import Table
from diabetes_platform.lake.arrow import arrow_schema, row_schema

if TYPE_CHECKING:
    import pyarrow.dataset as ds

MAINTENANCE = frozenset(
    {"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "ADD COLUMN"}
)
"""Delta operations that change files, properties or the schema, but no row."""
RETAIN_LOG = {"delta.enableExpiredLogCleanup": "false"}
"""Table properties that keep every version readable."""
KEEP_LOG = PostCommitHookProperties(cleanup_expired_logs=False)
"""Cleaning up expired logs after a commit lists the whole log; the daily maintenance does it."""
TIME_TRAVEL = timedelta(days=30)
"""How long a replaced version stays readable, unless the table has RETAIN_LOG."""


class LakeError(RuntimeError):
    """A Delta table is missing, damaged or has an unexpected schema; the message names it."""


@dataclass(frozen=True)
class DeltaPath:
    """The directory or URL of a Delta table; `s3` configures the connection for a URL.

    Every method raises StorageError if S3 fails.
    """

    path: str
    s3: S3 = DEFAULT_S3

    @property
    def for_spark(self) -> str:
        """The path for Spark: Hadoop's scheme for S3 is `s3a://`."""
        return re.sub(r"^s3://", "s3a://", self.path)

    @property
    def storage_options(self) -> dict[str, str]:
        """The storage options of deltalake."""
        return self.s3.for_deltalake() if is_s3_url(self.path) else {}

    def exists(self) -> bool:
        """Whether the table has at least one version."""
        with self.s3.errors(self.path):
            return bool(DeltaTable.is_deltatable(self.path, self.storage_options))

    def open(self, version: int | None = None) -> DeltaTable:
        """Open `version`, by default the newest; raises LakeError if there is no table."""
        table = self.find(version)
        if table is None:
            raise LakeError(f"{self.path}: no Delta table at this path")
        return table

    def find(self, version: int | None = None) -> DeltaTable | None:
        """Open `version`, by default the newest; None if there is no table.

        Raises LakeError if the log of the newest version is damaged.
        """
        # Calling `exists` first would read the log twice.
        try:
            with self.s3.errors(self.path):
                return DeltaTable(self.path, version=version, storage_options=self.storage_options)
        except TableNotFoundError:
            return None
        except DeltaError as error:
            if version is not None or "Kernel error" not in str(error):
                raise
            # The library's message goes on with a stack trace.
            raise LakeError(
                f"{self.path}: its Delta log cannot be read ({str(error).splitlines()[0][:200]}): "
                "`diabetes lake check` names the damaged file, and `diabetes lake repair` sets "
                "it aside"
            ) from None

    def version(self) -> int:
        """Return the newest version; raises LakeError if there is no table."""
        return self.open().version()

    def create(
        self,
        table: Table,
        partition_by: str | None = None,
        configuration: Mapping[str, str | None] | None = None,
    ) -> DeltaTable:
        """Open the table; create it with the contract's schema, or add the columns it lacks.

        Spark would infer the schema from the first batch, and Sail would declare a column NOT NULL
        if that batch has no NULL in it. Raises LakeError if `table` removes or retypes a column.
        """
        opened = self.find()
        if opened is None:
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
                # Another process may have created it in the meantime.
                if not self.exists():
                    raise
            opened = self.open()
        with self.s3.errors(self.path):
            _add_missing_columns(opened, table)
        return opened


def _add_missing_columns(opened: DeltaTable, table: Table) -> None:
    """Add the optional columns of `table` that the open Delta table lacks; `opened` is updated.

    Raises LakeError, which names all of them, for columns that `table` removes or retypes and for
    new columns that are not nullable. Raises CommitFailedError if another writer commits first.
    """
    contract = {field.name: field for field in Schema.from_arrow(arrow_schema(table)).fields}
    stored = {field.name: _type_name(field.type) for field in opened.schema().fields}
    expected = {name: _type_name(field.type) for name, field in contract.items()}
    new = [field for name, field in contract.items() if name not in stored]
    problems = [
        *(f"{name} is not in the contract" for name in stored if name not in contract),
        *(
            f"{name} has type {stored[name]}, in the contract {expected[name]}"
            for name in stored
            if name in contract and stored[name] != expected[name]
        ),
        *(f"{field.name} is new and not optional" for field in new if not field.nullable),
    ]
    if problems:
        raise LakeError(
            f"{table.name}: column {'; column '.join(problems)}: only optional columns may be added"
        )
    if new:
        opened.alter.add_columns(new)


def _type_name(delta_type: object) -> str:
    # Writers differ in whether elements of an array may be NULL, so this is not compared.
    element = getattr(delta_type, "element_type", None)
    if element is not None:
        return f"array<{_type_name(element)}>"
    return str(getattr(delta_type, "type", delta_type))


@dataclass(frozen=True)
class Lake:
    """The root of the Delta tables: a directory or an S3 URL, with its S3 configuration."""

    root: str
    s3: S3 = DEFAULT_S3

    def table(self, table: Table) -> DeltaPath:
        """Return the path of `table`; no I/O."""
        return DeltaPath(f"{self.root.rstrip('/')}/{table.name}", self.s3)

    def stream(
        self,
        table: Table,
        columns: tuple[str, ...],
        where: dict[str, str],
        version: int | None = None,
    ) -> pa.RecordBatchReader:
        """Stream `columns` of the rows whose text columns equal `where`.

        `version` is by default the newest. A column that it lacks is NULL. Memory holds a few
        batches, whatever the size of the table.
        """
        dataset = self._dataset(table, where, version)
        scanner = dataset.scanner(
            columns=projection(dataset, table, columns),
            filter=_equal(where),
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
        where: pc.Expression | None = None,
    ) -> pa.Table:
        """Read the days (UTC) of `table` from the day of `since` on; no rows if there is no table.

        `table` is partitioned by `day`. Rows that do not match `where` are filtered while reading.
        A column that the table lacks is NULL. Raises StorageError.
        """
        target = self.table(table)
        names = list(table.column_names if columns is None else columns)
        if (opened := target.find()) is None:
            return row_schema(table).empty_table().select(names)
        day = since.astimezone(UTC).date().isoformat()
        with self.s3.errors(target.path):
            dataset = opened.to_pyarrow_dataset(file_pruning_predicate=[("day", ">=", day)])
            is_recent = pc.field("day") >= day
            return dataset.to_table(
                columns=projection(dataset, table, names),
                filter=is_recent if where is None else is_recent & where,
            )

    def count(self, table: Table, where: dict[str, str], version: int | None = None) -> int:
        """Count the rows whose text columns equal `where`; no other column is read."""
        with self.s3.errors(self.table(table).path):
            rows: int = self._dataset(table, where, version).count_rows(filter=_equal(where))
        return rows

    def _dataset(
        self, table: Table, where: dict[str, str], version: int | None = None
    ) -> "ds.Dataset":
        """Open the files of `table` that may contain matching rows, according to the log."""
        opened = self.table(table).open(version)
        partition_columns = opened.metadata().partition_columns
        pruning = [(name, "=", value) for name, value in where.items() if name in partition_columns]
        return opened.to_pyarrow_dataset(file_pruning_predicate=pruning or None)

    def snapshot(
        self,
        table: Table,
        rows: pa.Table,
        content_hash: str,
        metadata: Mapping[str, str] | None = None,
    ) -> tuple[int, bool]:
        """Make `rows` the newest version of `table`; return the version and whether it was added.

        If the newest version has the same content hash, no version is added. `metadata` is added
        to the commit. Every version of the table stays readable.
        """
        target = self.table(table)
        if (current := target.find()) is not None:
            if current.history(1)[0].get("content_hash") == content_hash:
                return current.version(), False
            # `write_deltalake` applies its configuration to new tables only.
            missing = dict(RETAIN_LOG.items() - current.metadata().configuration.items())
            with self.s3.errors(target.path):
                if missing:
                    current.alter.set_table_properties(missing)
        commit_metadata = {"content_hash": content_hash, **(metadata or {})}
        with self.s3.errors(target.path):
            write_deltalake(
                target.path,
                rows,
                mode="overwrite",
                # The contract may have gained a column since the last version.
                schema_mode="overwrite",
                configuration=RETAIN_LOG,
                storage_options=target.storage_options,
                commit_properties=CommitProperties(custom_metadata=commit_metadata),
            )
        return target.version(), True


def projection(
    dataset: "ds.Dataset", table: Table, names: Sequence[str]
) -> dict[str, pc.Expression]:
    """Return the columns `names` for a scan; a column of `table` that the dataset lacks is NULL."""
    schema = row_schema(table)
    present = set(dataset.schema.names)
    return {
        name: pc.field(name)
        if name in present or name not in schema.names
        else pc.scalar(pa.scalar(None, schema.field(name).type))
        for name in names
    }


def _equal(where: dict[str, str]) -> pc.Expression | None:
    terms = [(name, "=", value) for name, value in where.items()]
    return pq.filters_to_expression(terms) if terms else None


@dataclass(frozen=True, slots=True)
class Commit:
    """A version that changed rows; `metadata` is its commit info.

    `readable_version` is the newest version with the same rows. After maintenance, the files of
    `version` itself expire.
    """

    version: int
    readable_version: int
    written_at: datetime
    metadata: Mapping[str, Any]


def commits(target: DeltaPath) -> list[Commit]:
    """Return the versions that changed rows, newest first.

    Raises LakeError if there is no table, and StorageError.
    """
    return _commits(target, target.open())


def newest_commit(target: DeltaPath) -> Commit | None:
    """Return the newest commit that is not maintenance; None if the log has none.

    Raises StorageError.
    """
    if (table := target.find()) is None:
        return None
    # It is nearly always the newest entry of the log, and reading the whole log takes longer.
    return next(iter(_commits(target, table, limit=1) or _commits(target, table)), None)


def _commits(target: DeltaPath, table: DeltaTable, limit: int | None = None) -> list[Commit]:
    with target.s3.errors(target.path):
        history = table.history(limit)
    found, readable = [], table.version()
    for entry in history:
        if entry["operation"] in MAINTENANCE:
            continue
        version = int(entry["version"])
        written_at = datetime.fromtimestamp(entry["timestamp"] / 1000, UTC)
        found.append(Commit(version, readable, written_at, entry))
        readable = version - 1
    return found


def annotate(target: DeltaPath, metadata: Mapping[str, str]) -> int:
    """Add a commit without rows that holds `metadata`; return its version.

    Raises LakeError if there is no table, and StorageError.
    """
    table = target.open()
    with target.s3.errors(target.path):
        commit_without_rows(table, CommitProperties(custom_metadata=dict(metadata)))
    return table.version()


def commit_without_rows(table: DeltaTable, properties: CommitProperties) -> None:
    """Add a commit that only has `properties`; `table` is updated."""
    table.create_write_transaction(
        [],
        mode="append",
        schema=table.schema(),
        partition_by=table.metadata().partition_columns or None,
        commit_properties=properties,
        post_commithook_properties=KEEP_LOG,
    )
    table.update_incremental()


def commit_as_of(target: DeltaPath, as_of: datetime) -> Commit:
    """Return the newest version at `as_of`, by the clock of its writer.

    Raises LakeError if the table had no version yet, and ValueError for a time without a zone.
    """
    if as_of.tzinfo is None:
        raise ValueError(f"time {as_of.isoformat()} has no time zone")
    versions = commits(target)
    commit = next((commit for commit in versions if commit.written_at <= as_of), None)
    if commit is None:
        first = versions[-1].written_at if versions else None
        allowed = f"{first:%Y-%m-%dT%H:%M:%S.%fZ} or later" if first else "a table with rows"
        raise LakeError(f"{target.path}: no version at {as_of.isoformat()}; allowed: {allowed}")
    return commit


@dataclass(frozen=True, slots=True)
class MaintenanceResult:
    """The number of files compacted, files written in their place, and expired files removed."""

    compacted: int
    added: int
    removed: int
    version: int


def maintain(lake: Lake, table: Table, keep: timedelta = TIME_TRAVEL) -> MaintenanceResult | None:
    """Compact small files and vacuum files that no version younger than `keep` needs.

    Returns None if there is no table. No row changes. Raises StorageError, and CommitFailedError if
    another writer commits first.
    """
    target = lake.table(table)
    opened = target.find()
    if opened is None:
        return None
    with lake.s3.errors(target.path):
        compaction = opened.optimize.compact()
        hours = int(keep.total_seconds() // 3600)
        # Its commits also clean up expired logs, except with RETAIN_LOG.
        removed = opened.vacuum(hours, dry_run=False, enforce_retention_duration=True)
        opened.create_checkpoint()
    return MaintenanceResult(
        compacted=int(compaction["numFilesRemoved"]),
        added=int(compaction["numFilesAdded"]),
        removed=len(removed),
        version=opened.version(),
    )
