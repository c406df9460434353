"""All Delta tables under one root: streamed, counted, versioned by content."""

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake

from diabetes_platform.contract.s3 import CHAIN, S3
from diabetes_platform.contract.tables import Table
from diabetes_platform.lake.delta import KEPT_FOR_GOOD, DeltaPath
from diabetes_platform.lake.schema import row_schema

if TYPE_CHECKING:
    import pyarrow.dataset as ds


@dataclass(frozen=True)
class Lake:
    """The root of the Delta tables: a directory or an S3 URL, which `s3` says how to reach."""

    root: str
    s3: S3 = CHAIN

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
