"""Reading and writing the batch's Delta tables with deltalake, without Spark."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import write_deltalake

from diabetes_platform.contract.tables import STATISTICS_PATIENTS, batch_content_hash
from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.lake.delta import DeltaPath, commits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diabetes_platform.cleaning.statistics import FieldStatistics

_BATCH_ID = re.compile(r"[0-9a-f]{12}")


class CleaningError(RuntimeError):
    """A batch is missing or is not the expected one; the message names it."""


@dataclass(frozen=True, slots=True)
class VerdictCounts:
    """Row counts of a version of the cleaned table by verdict and by reason."""

    verdicts: Mapping[str, int]
    reasons: Mapping[str, int]
    version: int


def checked_batch_id(batch_id: str) -> str:
    """Return `batch_id` if it is safe in a predicate; raises ValueError otherwise."""
    if not _BATCH_ID.fullmatch(batch_id):
        raise ValueError(f"batch id is {batch_id!r}; allowed: 12 hex digits")
    return batch_id


@dataclass(frozen=True, slots=True)
class Labels:
    """A version of `labels/patients` whose rows belong to the batch, as the source's rows do."""

    table: DeltaPath
    version: int
    content_hash: str


def batch_hash(raw_hash: str, labels: Labels | None) -> str:
    """Return the content hash of a batch: of its source, or of source and labels."""
    return batch_content_hash(raw_hash, None if labels is None else labels.content_hash)


def require_labels(labels: Labels) -> int | None:
    """Return the number of rows of that version, None if its writer did not record it.

    Raises CleaningError if the version has another content hash. Only the Delta log is read.
    """
    history = commits(labels.table)
    commit = next((commit for commit in history if commit.version <= labels.version), None)
    content_hash = None if commit is None else commit.metadata.get("content_hash")
    if content_hash != labels.content_hash:
        raise CleaningError(
            f"{labels.table.path}: version {labels.version} has content hash {content_hash}, "
            f"expected {labels.content_hash}"
        )
    actions = pa.table(labels.table.open(labels.version).get_add_actions(flatten=True))
    rows = actions["num_records"].to_pylist()
    return None if None in rows else sum(rows)


def require_batch(raw: DeltaPath, content_hash: str) -> int | None:
    """Return the number of rows of this content in `raw`, None if its writer did not record it.

    Raises CleaningError if there are none. Only the Delta log is read.
    """
    actions = pa.table(raw.open().get_add_actions(flatten=True))
    batch = actions.filter(pc.field("partition.content_hash") == content_hash)
    if not batch.num_rows:
        raise CleaningError(f"{raw.path}: no batch with content hash {content_hash}")
    rows = batch["num_records"].to_pylist()
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
        [dict(zip(names, row, strict=True)) for row in rows], row_schema(STATISTICS_PATIENTS)
    )
    statistics.create(STATISTICS_PATIENTS)
    with statistics.s3.errors(statistics.path):
        write_deltalake(
            statistics.path, table, mode="overwrite", storage_options=statistics.storage_options
        )
    return statistics.version()


def read_statistics(statistics: DeltaPath, batch_id: str) -> "list[FieldStatistics]":
    """Read the newest statistics; raises CleaningError if they belong to another batch."""
    from diabetes_platform.cleaning.statistics import FieldStatistics

    opened = statistics.open()
    with statistics.s3.errors(statistics.path):
        rows = opened.to_pyarrow_table().to_pylist()
    batch_ids = {row.pop("batch_id") for row in rows}
    if batch_ids != {batch_id}:
        raise CleaningError(
            f"{statistics.path} has statistics of batch {sorted(batch_ids)}, expected {batch_id}"
        )
    return [FieldStatistics(**row) for row in rows]


def count_verdicts(cleaned: DeltaPath) -> VerdictCounts:
    """Count the rows of the newest version; only two columns are read."""
    opened = cleaned.open()
    verdicts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    with cleaned.s3.errors(cleaned.path):
        for batch in opened.to_pyarrow_dataset().to_batches(columns=["verdict", "reasons"]):
            verdicts.update(_counts(batch["verdict"]))
            reasons.update(_counts(pc.list_flatten(batch["reasons"])))
    return VerdictCounts(verdicts, reasons, opened.version())


def only_batch_id(cleaned: DeltaPath) -> str:
    """Return the id of the batch in the newest version; CleaningError if it has no row."""
    opened = cleaned.open()
    with cleaned.s3.errors(cleaned.path):
        rows = opened.to_pyarrow_dataset().head(1, columns=["batch_id"]).to_pylist()
    if not rows:
        raise CleaningError(f"{cleaned.path}: has no rows")
    return str(rows[0]["batch_id"])


def require_single_batch(cleaned: DeltaPath, batch_id: str, version: int | None = None) -> int:
    """Return `version`, or the newest, if all its rows belong to `batch_id`.

    Raises CleaningError if it contains rows of another batch.
    """
    import pyarrow.dataset as ds

    opened = cleaned.open(version)
    is_of_another_batch = ds.field("batch_id") != batch_id
    with cleaned.s3.errors(cleaned.path):
        rows = (
            opened.to_pyarrow_dataset()
            .head(1, columns=["batch_id"], filter=is_of_another_batch)
            .to_pylist()
        )
    if rows:
        other_batch_id = rows[0]["batch_id"]
        raise CleaningError(f"{cleaned.path} contains batch {other_batch_id}, expected {batch_id}")
    return opened.version()


def count_batch_rows(quarantine: DeltaPath, batch_id: str) -> tuple[int, int]:
    """Return the number of rows of a batch in the newest version, and that version."""
    import pyarrow.dataset as ds

    opened = quarantine.open()
    pruning = [("batch_id", "=", batch_id)]
    with quarantine.s3.errors(quarantine.path):
        dataset = opened.to_pyarrow_dataset(file_pruning_predicate=pruning)
        rows: int = dataset.count_rows(filter=ds.field("batch_id") == batch_id)
    return rows, opened.version()


def _counts(values: pa.Array) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in pc.value_counts(values).to_pylist()}
