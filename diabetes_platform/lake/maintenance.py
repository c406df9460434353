"""Keeping Delta tables quick: small files made one, files of old versions taken away in time."""

from dataclasses import dataclass
from datetime import timedelta

from diabetes_platform.contract.tables import Table
from diabetes_platform.lake.tables import Lake

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
