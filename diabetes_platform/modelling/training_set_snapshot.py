"""Time travel of `features/training_set`: the rows as of a past time, verified by content hash.

Every version of the table is kept; its commit metadata contains the content hash of the rows.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from diabetes_platform.contract.tables import SOURCE, TRAINING_SET
from diabetes_platform.lake.delta import Commit, Lake, commit_as_of
from diabetes_platform.modelling.training_set import TrainingSetError, training_set_from_arrow

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_HASH = "rows_hash"
"""Commit metadata: the `content_hash` of the TrainingSet, which a model's bundle also contains.

Older versions have it under the key `content_hash`.
"""
RAW_HASH, LABELS_VERSION = "raw_content_hash", "labels_version"
"""Commit metadata: the batch's content hash in `raw/patients`, its version of `labels/patients`."""
_UNKNOWN_SOURCE = "not recorded"


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSetSnapshot:
    """A version of `features/training_set`, its rows and their verified content hash.

    `sources` counts the rows by source.
    """

    commit: Commit
    rows: "pa.Table"
    content_hash: str
    sources: Mapping[str, int]


def read_training_set_as_of(lake: Lake, as_of: datetime) -> TrainingSetSnapshot:
    """Read the newest version of the training set at `as_of`, a time with a zone.

    Raises LakeError if the table had no version, TrainingSetError if the rows do not match the
    content hash of their commit, ValueError for a time without a zone, and StorageError.
    """
    target = lake.table(TRAINING_SET)
    commit = commit_as_of(target, as_of)
    with lake.s3.errors(target.path):
        rows = target.open(commit.version).to_pyarrow_table()
    content_hash = training_set_from_arrow(rows).content_hash
    expected = commit.metadata.get(ROWS_HASH, commit.metadata.get("content_hash"))
    if content_hash != expected:
        raise TrainingSetError(
            f"{TRAINING_SET.name}: version {commit.version}: the rows have content hash "
            f"{content_hash}; the commit says {expected}"
        )
    return TrainingSetSnapshot(commit, rows, content_hash, rows_by_source(rows))


def rows_by_source(rows: "pa.Table") -> dict[str, int]:
    """Count rows of the training set by source, most frequent first.

    Rows of versions without the column `source` count as `not recorded`.
    """
    if SOURCE.name not in rows.column_names:
        return {_UNKNOWN_SOURCE: rows.num_rows}
    return dict(Counter(rows[SOURCE.name].to_pylist()).most_common())
