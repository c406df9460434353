"""All Delta tables under one root: streamed, counted, versioned by content."""

from dataclasses import dataclass, field

import pyarrow as pa
from deltalake import CommitProperties, write_deltalake

from diabetes_platform.contract.tables import Table
from diabetes_platform.lake.delta import DeltaPath


@dataclass(frozen=True)
class Lake:
    """The root of the Delta tables: a directory or an S3 URL, with its storage options."""

    root: str
    storage_options: dict[str, str] = field(default_factory=dict)

    def table(self, table: Table) -> DeltaPath:
        """Return where `table` lies; nothing is read or made."""
        return DeltaPath(f"{self.root.rstrip('/')}/{table.name}", self.storage_options)

    def stream(
        self, table: Table, columns: tuple[str, ...], where: dict[str, str]
    ) -> pa.RecordBatchReader:
        """Stream `columns` of the rows whose partition columns equal `where`.

        Memory holds a few batches only, however long the table is.
        """
        partitions = [(name, "=", value) for name, value in where.items()]
        dataset = self.table(table).open().to_pyarrow_dataset(file_pruning_predicate=partitions)
        scanner = dataset.scanner(
            columns=list(columns),
            batch_size=65_536,
            batch_readahead=2,
            fragment_readahead=1,
        )
        return scanner.to_reader()

    def count(self, table: Table, where: dict[str, str]) -> int:
        """Count the rows whose partition columns equal `where`, from the Delta log alone."""
        actions = pa.table(self.table(table).open().get_add_actions(flatten=True)).to_pylist()
        return sum(
            action["num_records"]
            for action in actions
            if all(action[f"partition.{name}"] == value for name, value in where.items())
        )

    def snapshot(self, table: Table, rows: pa.Table, content_hash: str) -> tuple[int, bool]:
        """Make `rows` the newest version of `table`; return the version and whether it was added.

        The same content as the newest version's adds none.
        """
        target = self.table(table)
        if target.exists():
            current = target.open()
            if current.history(1)[0].get("content_hash") == content_hash:
                return current.version(), False
        write_deltalake(
            target.path,
            rows,
            mode="overwrite",
            storage_options=self.storage_options,
            commit_properties=CommitProperties(custom_metadata={"content_hash": content_hash}),
        )
        return target.version(), True
