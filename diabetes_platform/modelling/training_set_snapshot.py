"""Time travel of `features/training_set`: the rows as of a past time, checked by content hash."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from diabetes_platform.contract.tables import SOURCE, TRAINING_SET
from diabetes_platform.lake.delta import Commit, Lake, commit_at
from diabetes_platform.modelling.training_set import TrainingSetError, training_set_from_arrow

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_HASH = "rows_hash"
"""What the commit tells: the `content_hash` of the TrainingSet, which a model's bundle names too.

A version from before that was told has it as its own `content_hash`.
"""
RAW_HASH, LABELS_VERSION = "raw_content_hash", "labels_version"
"""And where the batch came from: content in `raw/patients`, version of `labels/patients`."""
_UNKNOWN = "not told"


@dataclass(frozen=True, slots=True, eq=False)
class PastTrainingSet:
    """The version of `features/training_set` that was the newest at the time that was asked for.

    `rows` are those of the version, `sources` counts them by where they came from. The hash of
    what they teach was computed again from them and is the one told when they were written.
    """

    commit: Commit
    rows: "pa.Table"
    content_hash: str
    sources: Mapping[str, int]


def training_set_at(lake: Lake, moment: datetime) -> PastTrainingSet:
    """Read the training set as it was at `moment`, a time with a zone.

    Raises LakeError where there was none, TrainingSetError where its rows are not those that
    its commit tells of, ValueError for a time without a zone, and StorageError.
    """
    target = lake.table(TRAINING_SET)
    commit = commit_at(target, moment)
    with lake.s3.errors(target.path):
        rows = target.open(commit.version).to_pyarrow_table()
    found = training_set_from_arrow(rows).content_hash
    told = commit.told.get(ROWS_HASH, commit.told.get("content_hash"))
    if found != told:
        raise TrainingSetError(
            f"{TRAINING_SET.name}: version {commit.version}: given rows of content hash {found}, "
            f"allowed {told}"
        )
    return PastTrainingSet(commit, rows, found, rows_by_source(rows))


def rows_by_source(rows: "pa.Table") -> dict[str, int]:
    """Count rows of the training set by source, most first; `not told` in versions of before."""
    if SOURCE.name not in rows.column_names:
        return {_UNKNOWN: rows.num_rows}
    return dict(Counter(rows[SOURCE.name].to_pylist()).most_common())
