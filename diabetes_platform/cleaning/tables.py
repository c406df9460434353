"""Delta tables as Spark's jobs meet them: does it exist, what is its path, which version is it.

Sail reads a path that does not exist as an empty table, so existence is asked of Delta first.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
from deltalake import DeltaTable

from diabetes_platform.contract.tables import Table
from diabetes_platform.lake.schema import arrow_schema

_CONTENT_HASH = re.compile(r"[0-9a-f]{64}")
_BATCH_ID = re.compile(r"[0-9a-f]{12}")


class CleaningError(RuntimeError):
    """A table or batch that cleaning needs and that is not there; the message names it."""


@dataclass(frozen=True)
class DeltaPath:
    """A Delta table's directory or URL; `storage_options` are what deltalake needs to read it."""

    path: str
    storage_options: Mapping[str, str] = field(default_factory=dict)

    @property
    def for_spark(self) -> str:
        """The path in Spark's spelling: Hadoop knows S3 as `s3a://`."""
        return re.sub(r"^s3://", "s3a://", self.path)

    def exists(self) -> bool:
        """Whether the table has at least one version."""
        return bool(DeltaTable.is_deltatable(self.path, dict(self.storage_options)))

    def open(self) -> DeltaTable:
        """Open the newest version; CleaningError names a path that has none."""
        if not self.exists():
            raise CleaningError(f"{self.path}: no Delta table at this path")
        return DeltaTable(self.path, storage_options=dict(self.storage_options))

    def create(self, table: Table, *, partition_by: str) -> None:
        """Create the empty table with the contract's schema unless it is there.

        Sail would make a column NOT NULL that happens to have no NULL in the first batch.
        """
        if not self.exists():
            DeltaTable.create(
                self.path,
                arrow_schema(table),
                mode="ignore",
                partition_by=[partition_by],
                storage_options=dict(self.storage_options),
            )

    def version(self) -> int:
        """Return the newest version; CleaningError names a path that has none."""
        return self.open().version()


def batch_id_of(content_hash: str) -> str:
    """Return the batch's name, the first 12 hex digits; ValueError for what is no SHA-256."""
    if not _CONTENT_HASH.fullmatch(content_hash):
        raise ValueError(f"content hash: given {content_hash!r}, allowed 64 hex digits")
    return content_hash[:12]


def checked_batch_id(batch_id: str) -> str:
    """Return `batch_id`, safe to write into a predicate; ValueError for what is none."""
    if not _BATCH_ID.fullmatch(batch_id):
        raise ValueError(f"batch id: given {batch_id!r}, allowed 12 hex digits")
    return batch_id


def require_batch(raw: DeltaPath, content_hash: str) -> None:
    """Raise CleaningError where `raw` has no rows of this content; reads the Delta log alone."""
    actions = pa.table(raw.open().get_add_actions(flatten=True))
    if content_hash not in set(actions["partition.content_hash"].to_pylist()):
        raise CleaningError(f"{raw.path}: no batch with content hash {content_hash}")
