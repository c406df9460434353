"""Reads and writes of the batch's Delta tables by deltalake, without Spark."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import write_deltalake

from diabetes_platform.contract.tables import STATISTICS_PATIENTS, batch_content_hash
from diabetes_platform.lake.arrow import arrow_schema
from diabetes_platform.lake.delta import DeltaPath, commits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diabetes_platform.cleaning.statistics import FieldStatistics

_BATCH_ID = re.compile(r"[0-9a-f]{12}")


class CleaningError(RuntimeError):
    """A batch that cleaning needs and that is not there; the message names it."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Rows of a version of the cleaned table by verdict and by reason."""

    verdicts: Mapping[str, int]
    reasons: Mapping[str, int]
    version: int


def checked_batch_id(batch_id: str) -> str:
    """Return `batch_id`, safe to write into a predicate; ValueError for what is none."""
    if not _BATCH_ID.fullmatch(batch_id):
        raise ValueError(f"batch id: given {batch_id!r}, allowed 12 hex digits")
    return batch_id


@dataclass(frozen=True, slots=True)
class Labels:
    """A version of `labels/patients` that has rows: they are of the batch, beside the source's."""

    table: DeltaPath
    version: int
    content_hash: str


def batch_hash(raw_hash: str, labels: Labels | None) -> str:
    """Return the content hash of a batch: its source's, or with labels that of both."""
    return batch_content_hash(raw_hash, None if labels is None else labels.content_hash)


def require_labels(labels: Labels) -> int | None:
    """Return how many rows that version has, None where its writer did not say.

    Raises CleaningError where it has other content. The Delta log alone is read.
    """
    written = next((c for c in commits(labels.table) if c.version <= labels.version), None)
    given = None if written is None else written.metadata.get("content_hash")
    if given != labels.content_hash:
        raise CleaningError(
            f"{labels.table.path}: version {labels.version}: given content hash {given}, "
            f"allowed {labels.content_hash}"
        )
    actions = pa.table(labels.table.open(labels.version).get_add_actions(flatten=True))
    rows = actions["num_records"].to_pylist()
    return None if None in rows else sum(rows)


def require_batch(raw: DeltaPath, content_hash: str) -> int | None:
    """Return how many rows of this content `raw` has, None where its writer did not say.

    Raises CleaningError where it has none. The Delta log alone is read.
    """
    actions = pa.table(raw.open().get_add_actions(flatten=True))
    ours = actions.filter(pc.field("partition.content_hash") == content_hash)
    if not ours.num_rows:
        raise CleaningError(f"{raw.path}: no batch with content hash {content_hash}")
    rows = ours["num_records"].to_pylist()
    return None if None in rows else sum(rows)


def write_statistics(
    statistics: DeltaPath, fitted: "Iterable[FieldStatistics]", batch_id: str
) -> int:
    """Overwrite `statistics/patients`; return the table's version."""
    rows = [
        (f.field, f.count, f.q1, f.median, f.q3, f.lower_fence, f.upper_fence, batch_id)
        for f in fitted
    ]
    names = STATISTICS_PATIENTS.column_names
    table = pa.Table.from_pylist(
        [dict(zip(names, row, strict=True)) for row in rows], arrow_schema(STATISTICS_PATIENTS)
    )
    with statistics.s3.errors(statistics.path):
        write_deltalake(
            statistics.path, table, mode="overwrite", storage_options=statistics.storage_options
        )
    return statistics.version()


def read_statistics(statistics: DeltaPath, batch_id: str) -> "list[FieldStatistics]":
    """Read the newest statistics; CleaningError where they are absent or another batch's."""
    from diabetes_platform.cleaning.statistics import FieldStatistics

    opened = statistics.open()
    with statistics.s3.errors(statistics.path):
        rows = opened.to_pyarrow_table().to_pylist()
    found = {row.pop("batch_id") for row in rows}
    if found != {batch_id}:
        raise CleaningError(
            f"{statistics.path}: given statistics of batch {sorted(found)}, allowed {batch_id}"
        )
    return [FieldStatistics(**row) for row in rows]


def count_verdicts(cleaned: DeltaPath) -> Counted:
    """Count the newest version as it was written; two of its columns are read."""
    opened = cleaned.open()
    verdicts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    with cleaned.s3.errors(cleaned.path):
        for batch in opened.to_pyarrow_dataset().to_batches(columns=["verdict", "reasons"]):
            verdicts.update(_counts(batch["verdict"]))
            reasons.update(_counts(pc.list_flatten(batch["reasons"])))
    return Counted(verdicts, reasons, opened.version())


def require_only(cleaned: DeltaPath, batch_id: str, version: int | None = None) -> int:
    """Return the version that was asked for, or the newest.

    Raises CleaningError where it holds rows of another batch than `batch_id`.
    """
    import pyarrow.dataset as ds

    opened = cleaned.open(version)
    other = ds.field("batch_id") != batch_id
    with cleaned.s3.errors(cleaned.path):
        rows = opened.to_pyarrow_dataset().head(1, columns=["batch_id"], filter=other).to_pylist()
    if rows:
        given = rows[0]["batch_id"]
        raise CleaningError(f"{cleaned.path}: given batch {given}, allowed {batch_id}")
    return opened.version()


def rows_of(quarantine: DeltaPath, batch_id: str) -> tuple[int, int]:
    """Return how many rows of a batch the newest version holds, and that version."""
    import pyarrow.dataset as ds

    opened = quarantine.open()
    only = [("batch_id", "=", batch_id)]
    with quarantine.s3.errors(quarantine.path):
        dataset = opened.to_pyarrow_dataset(file_pruning_predicate=only)
        rows: int = dataset.count_rows(filter=ds.field("batch_id") == batch_id)
    return rows, opened.version()


def _counts(values: pa.Array) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in pc.value_counts(values).to_pylist()}
