"""One Delta table: does it exist, its path as each engine spells it, its versions.

Sail reads a path that does not exist as an empty table, so existence is asked of Delta first.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from diabetes_platform.contract.s3 import CHAIN, S3, on_s3
from diabetes_platform.contract.tables import Table
from diabetes_platform.lake.schema import arrow_schema

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
    s3: S3 = CHAIN

    @property
    def for_spark(self) -> str:
        """The path in Spark's spelling: Hadoop knows S3 as `s3a://`."""
        return re.sub(r"^s3://", "s3a://", self.path)

    @property
    def storage_options(self) -> dict[str, str]:
        """What deltalake needs besides the path."""
        return self.s3.for_deltalake() if on_s3(self.path) else {}

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
