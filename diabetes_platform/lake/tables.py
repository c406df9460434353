"""Where the Delta tables lie, and how one is read without loading it whole."""

from dataclasses import dataclass, field

import pyarrow as pa
from deltalake import DeltaTable

from diabetes_platform.contract.tables import Table


class LakeError(RuntimeError):
    """A Delta table that is not there, or not at the version asked for."""


@dataclass(frozen=True)
class Lake:
    """The root of the Delta tables: a directory or an S3 URL, with its storage options."""

    root: str
    storage_options: dict[str, str] = field(default_factory=dict)

    def path(self, table: Table) -> str:
        """Return the path of `table`; nothing is read or made."""
        return f"{self.root.rstrip('/')}/{table.name}"

    def exists(self, table: Table) -> bool:
        """Whether `table` has at least one version."""
        return DeltaTable.is_deltatable(self.path(table), storage_options=self.storage_options)

    def open(self, table: Table, version: int | None = None) -> DeltaTable:
        """Open `table`, at `version` or the newest; LakeError where there is none."""
        if not self.exists(table):
            raise LakeError(f"{table.name}: no Delta table at {self.path(table)}")
        return DeltaTable(self.path(table), version=version, storage_options=self.storage_options)

    def stream(
        self, table: Table, columns: tuple[str, ...], where: dict[str, str]
    ) -> pa.RecordBatchReader:
        """Stream `columns` of the rows whose partition columns equal `where`.

        Memory holds a few batches only, however long the table is.
        """
        partitions = [(name, "=", value) for name, value in where.items()]
        dataset = self.open(table).to_pyarrow_dataset(partitions=partitions)
        scanner = dataset.scanner(
            columns=list(columns),
            batch_size=65_536,
            batch_readahead=2,
            fragment_readahead=1,
        )
        return scanner.to_reader()
