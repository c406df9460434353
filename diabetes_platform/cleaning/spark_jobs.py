"""The batch jobs: fit statistics, clean a batch, quarantine its rejected rows.

Spark only runs the rules. Small reads and writes use deltalake, because planning a Spark query
takes longer than cleaning a small batch.
"""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from diabetes_platform.cleaning.reconciliation import ACCEPTED, REJECTED
from diabetes_platform.cleaning.session import tune_for_batch
from diabetes_platform.contract.fields import FIELD_NAMES, FIELDS
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    LABELLED_PATIENTS,
    QUARANTINE_PATIENTS,
    SOURCE,
    SOURCE_LINE,
    STATISTICS_PATIENTS,
    STREAM_PATIENTS,
    batch_content_hash,
    batch_id_of,
)
from diabetes_platform.contract.validation import DUPLICATE, MISSING_TEXTS, Reason
from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.lake.delta import DeltaPath, commits, projection

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from diabetes_platform.cleaning.statistics import FieldStatistics

_BATCH_ID = re.compile(r"[0-9a-f]{12}")
_DUPLICATE = str(Reason("record", DUPLICATE))
_ORIGIN = (SOURCE_LINE.name, SOURCE.name)
_RECEIVED_COLUMNS = {field.name: f"{field.name}_received" for field in FIELDS}
"""The cleaned table's column of a value as received; the field's name has the parsed value."""
WITHOUT_COLUMN_STATISTICS = {"delta.dataSkippingNumIndexedCols": "0"}
"""The Delta log gets no statistics of the sixty columns: they are never used and slow to write."""


class CleaningError(RuntimeError):
    """A batch is missing or is not the expected one; the message names it."""


@dataclass(frozen=True, slots=True)
class Labels:
    """A version of `labels/patients` whose rows belong to the batch, as the source's rows do."""

    table: DeltaPath
    version: int
    content_hash: str


@dataclass(frozen=True, slots=True)
class CleanResult:
    """Row counts of a version of `cleaned/patients`; `reasons` has the most frequent first.

    `duplicates` counts the rejected rows whose only reason is `record:duplicate`.
    """

    accepted: int
    rejected: int
    duplicates: int
    reasons: dict[str, int]
    delta_version: int

    @property
    def rows(self) -> int:
        """All rows of the batch."""
        return self.accepted + self.rejected


def batch_hash(raw_hash: str, labels: Labels | None) -> str:
    """Return the content hash of a batch: of its source, or of source and labels."""
    return batch_content_hash(raw_hash, None if labels is None else labels.content_hash)


def fit_statistics(
    spark: "SparkSession",
    raw: DeltaPath,
    content_hash: str,
    statistics: DeltaPath,
    labels: Labels | None = None,
    *,
    missing_texts: Collection[str] = MISSING_TEXTS,
) -> "list[FieldStatistics]":
    """Fit the batch's statistics and overwrite `statistics/patients` with them.

    The batch consists of the raw rows with that content hash and of the labels. Raises LakeError
    if a table is missing, and CleaningError if the batch is not in the table.
    """
    from diabetes_platform.cleaning.statistics import fit

    batch_id = batch_id_of(batch_hash(content_hash, labels))
    fitted = fit(_received(spark, raw, content_hash, labels), missing_texts)
    rows = [{**asdict(row), "batch_id": batch_id} for row in fitted]
    statistics.create(STATISTICS_PATIENTS)
    with statistics.s3.errors(statistics.path):
        write_deltalake(
            statistics.path,
            pa.Table.from_pylist(rows, row_schema(STATISTICS_PATIENTS)),
            mode="overwrite",
            storage_options=statistics.storage_options,
        )
    return fitted


def clean_batch(
    spark: "SparkSession",
    raw: DeltaPath,
    content_hash: str,
    statistics: DeltaPath,
    cleaned: DeltaPath,
    labels: Labels | None = None,
    *,
    missing_texts: Collection[str] = MISSING_TEXTS,
) -> CleanResult:
    """Apply all rules to every row of the batch and overwrite `cleaned/patients`.

    The batch consists of the raw rows with that content hash and of the labels. Raises LakeError
    if a table is missing, CleaningError if the batch is not in it or the statistics belong to
    another batch.
    """
    from diabetes_platform.cleaning.clean import ROW_KEY_SCHEMA, clean, find_duplicates

    batch_id = batch_id_of(batch_hash(content_hash, labels))
    rows = _received(spark, raw, content_hash, labels)
    fitted = _read_statistics(statistics, batch_id)
    # Collected by the client (9 bytes per duplicate), so that the engine knows their number. In a
    # join with the plan itself, Sail would hash the whole batch: gigabytes for 10 million rows.
    row_keys = find_duplicates(rows, missing_texts).toArrow()
    # The client cannot infer a schema without rows.
    duplicates = spark.createDataFrame(row_keys, ROW_KEY_SCHEMA)
    frame = clean(rows, duplicates, fitted, batch_id, missing_texts)
    cleaned.create(CLEANED_PATIENTS, configuration=WITHOUT_COLUMN_STATISTICS)
    # Not partitioned by verdict: both engines would sort the whole batch before writing.
    frame.write.format("delta").mode("overwrite").save(cleaned.for_spark)
    return count_verdicts(cleaned)


def quarantine_batch(
    cleaned: DeltaPath, batch_id: str, quarantine: DeltaPath, *, version: int | None = None
) -> int:
    """Copy the batch's rejected rows to `quarantine/patients`; return their number.

    They are read from `version` of the cleaned table, by default the newest, and replace the
    batch's rows in the quarantine. Raises LakeError if the cleaned table is missing, CleaningError
    if it contains another batch, and ValueError for a batch id that is not safe in a predicate.
    """
    import pyarrow.dataset as ds

    if not _BATCH_ID.fullmatch(batch_id):
        raise ValueError(f"batch id is {batch_id!r}; allowed: 12 hex digits")
    is_of_batch = ds.field("batch_id") == batch_id
    schema = row_schema(QUARANTINE_PATIENTS)
    names = [_RECEIVED_COLUMNS.get(name, name) for name in schema.names]
    opened = cleaned.open(version)
    with cleaned.s3.errors(cleaned.path):
        dataset = opened.to_pyarrow_dataset()
        foreign = dataset.head(1, columns=["batch_id"], filter=~is_of_batch)["batch_id"]
        if len(foreign):
            raise CleaningError(f"{cleaned.path} contains batch {foreign[0]}, expected {batch_id}")
        stored = projection(dataset, CLEANED_PATIENTS, names)
        columns = dict(zip(schema.names, stored.values(), strict=True))
        scanner = dataset.scanner(columns=columns, filter=ds.field("verdict") == REJECTED)
    quarantine.create(QUARANTINE_PATIENTS, partition_by="batch_id")
    with quarantine.s3.errors(quarantine.path):
        write_deltalake(
            quarantine.path,
            scanner.to_reader().cast(schema),
            mode="overwrite",
            predicate=f"batch_id = '{batch_id}'",
            storage_options=quarantine.storage_options,
        )
        pruning = [("batch_id", "=", batch_id)]
        written = quarantine.open().to_pyarrow_dataset(file_pruning_predicate=pruning)
        return int(written.count_rows(filter=is_of_batch))


def count_verdicts(cleaned: DeltaPath, version: int | None = None) -> CleanResult:
    """Count the rows of a version, by default the newest; only two columns are read."""
    opened = cleaned.open(version)
    duplicates = 0
    verdicts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    with cleaned.s3.errors(cleaned.path):
        for batch in opened.to_pyarrow_dataset().to_batches(columns=["verdict", "reasons"]):
            verdicts.update(_counts(batch["verdict"]))
            reasons.update(_counts(pc.list_flatten(batch["reasons"])))
            only_reasons = batch["reasons"].filter(
                pc.equal(pc.list_value_length(batch["reasons"]), 1)
            )
            duplicates += _counts(pc.list_flatten(only_reasons)).get(_DUPLICATE, 0)
    by_frequency = dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
    return CleanResult(
        verdicts[ACCEPTED], verdicts[REJECTED], duplicates, by_frequency, opened.version()
    )


def _counts(values: pa.Array) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in pc.value_counts(values).to_pylist()}


def only_batch_id(cleaned: DeltaPath) -> str:
    """Return the id of the batch in the newest version; CleaningError if it has no row."""
    opened = cleaned.open()
    with cleaned.s3.errors(cleaned.path):
        rows = opened.to_pyarrow_dataset().head(1, columns=["batch_id"]).to_pylist()
    if not rows:
        raise CleaningError(f"{cleaned.path}: has no rows")
    return str(rows[0]["batch_id"])


def count_rows(raw: DeltaPath, content_hash: str, labels: Labels | None) -> int | None:
    """Return the number of rows of a batch, None if a writer did not record it.

    Only the Delta logs are read. Raises CleaningError if the batch is not in its tables.
    """
    recorded = [require_batch(raw, content_hash), 0 if labels is None else require_labels(labels)]
    return None if None in recorded else sum(filter(None, recorded))


def require_batch(raw: DeltaPath, content_hash: str) -> int | None:
    """Return the number of rows of this content in `raw`, None if its writer did not record it.

    Raises CleaningError if there are none. Only the Delta log is read.
    """
    files = pa.table(raw.open().get_add_actions(flatten=True))
    batch = files.filter(pc.field("partition.content_hash") == content_hash)
    if not batch.num_rows:
        raise CleaningError(f"{raw.path}: no batch with content hash {content_hash}")
    return _recorded_rows(batch)


def require_labels(labels: Labels) -> int | None:
    """Return the number of rows of that version, None if its writer did not record it.

    Raises CleaningError if the version has another content hash. Only the Delta log is read.
    """
    metadata = (c.metadata for c in commits(labels.table) if c.version <= labels.version)
    content_hash = next(metadata, {}).get("content_hash")
    if content_hash != labels.content_hash:
        raise CleaningError(
            f"{labels.table.path}: version {labels.version} has content hash {content_hash}, "
            f"expected {labels.content_hash}"
        )
    return _recorded_rows(pa.table(labels.table.open(labels.version).get_add_actions(flatten=True)))


def _recorded_rows(files: pa.Table) -> int | None:
    rows = files["num_records"].to_pylist()
    return None if None in rows else sum(rows)


def _read_statistics(statistics: DeltaPath, batch_id: str) -> "list[FieldStatistics]":
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


def _received(
    spark: "SparkSession", raw: DeltaPath, content_hash: str, labels: Labels | None
) -> "DataFrame":
    """Return the rows of the batch, of source and labels, with their row keys."""
    from pyspark.sql import functions as sf

    from diabetes_platform.cleaning.clean import LABELLED

    tune_for_batch(spark, count_rows(raw, content_hash, labels))
    rows = (
        spark.read.format("delta")
        .load(raw.for_spark)
        .where(sf.col("content_hash") == content_hash)
        .select(sf.lit(False).alias(LABELLED), *_ORIGIN, *_field_columns(raw.open()))
    )
    if labels is None:
        return rows
    read = spark.read.format("delta").option("versionAsOf", str(labels.version))
    line, source = _ORIGIN
    labelled = read.load(labels.table.for_spark).select(
        sf.lit(True).alias(LABELLED),
        sf.col(*LABELLED_PATIENTS.key).alias(line),
        sf.lit(STREAM_PATIENTS.name).alias(source),
        *_field_columns(labels.table.open(labels.version)),
    )
    return rows.union(labelled)


def _field_columns(opened: DeltaTable) -> "list[Column]":
    """Select every field as text; a field that this version of the table lacks is NULL."""
    from pyspark.sql import functions as sf

    present = {column.name for column in opened.schema().fields}
    return [
        (sf.col(name) if name in present else sf.lit(None).cast("string")).alias(name)
        for name in FIELD_NAMES
    ]
