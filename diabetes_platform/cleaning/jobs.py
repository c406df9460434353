"""The batch jobs: fit statistics, clean a batch, quarantine its rejected rows.

Spark only runs the rules. Small reads and writes use deltalake, because planning a Spark query
takes longer than cleaning a small batch.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deltalake import write_deltalake

from diabetes_platform.cleaning.batch_tables import (
    Labels,
    batch_hash,
    checked_batch_id,
    count_batch_rows,
    count_verdicts,
    read_statistics,
    require_batch,
    require_labels,
    require_single_batch,
    write_statistics,
)
from diabetes_platform.cleaning.reconciliation import ACCEPTED, REJECTED
from diabetes_platform.cleaning.session import tune_for_batch
from diabetes_platform.contract.fields import FIELD_NAMES, FIELDS
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    LABELLED_PATIENTS,
    QUARANTINE_PATIENTS,
    SOURCE,
    SOURCE_LINE,
    STREAM_PATIENTS,
    batch_id_of,
)
from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.lake.delta import DeltaPath, projection

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyspark.sql import Column, DataFrame, SparkSession

    from diabetes_platform.cleaning.statistics import FieldStatistics

_ORIGIN = (SOURCE_LINE.name, SOURCE.name)
_RECEIVED_COLUMNS = {field.name: f"{field.name}_received" for field in FIELDS}
"""The cleaned table's column of a value as received; the field's name has the parsed value."""
WITHOUT_COLUMN_STATISTICS = {"delta.dataSkippingNumIndexedCols": "0"}
"""The Delta log gets no statistics of the sixty columns: they are never used and slow to write."""


@dataclass(frozen=True, slots=True)
class FitResult:
    """The result of `fit_statistics`."""

    statistics: "tuple[FieldStatistics, ...]"
    batch_id: str
    path: str
    delta_version: int


@dataclass(frozen=True, slots=True)
class CleanResult:
    """The result of `clean_batch`; `reasons` counts rows by reason, most frequent first."""

    rows: int
    accepted: int
    rejected: int
    reasons: dict[str, int]
    batch_id: str
    path: str
    delta_version: int


def fit_statistics(
    spark: "SparkSession",
    raw: DeltaPath,
    content_hash: str,
    statistics: DeltaPath,
    labels: Labels | None = None,
) -> FitResult:
    """Fit the batch's statistics and overwrite `statistics/patients` with them.

    The batch consists of the raw rows with that content hash and of the labels. Raises LakeError
    if a table is missing, and CleaningError if the batch is not in the table.
    """
    from diabetes_platform.cleaning.statistics import fit

    batch_id = batch_id_of(batch_hash(content_hash, labels))
    fitted = fit(_received(spark, raw, content_hash, labels))
    version = write_statistics(statistics, fitted, batch_id)
    return FitResult(tuple(fitted), batch_id, statistics.path, version)


def clean_batch(
    spark: "SparkSession",
    raw: DeltaPath,
    content_hash: str,
    statistics: DeltaPath,
    cleaned: DeltaPath,
    labels: Labels | None = None,
) -> CleanResult:
    """Apply all rules to every row of the batch and overwrite `cleaned/patients`.

    The batch consists of the raw rows with that content hash and of the labels. Raises LakeError
    if a table is missing, CleaningError if the batch is not in it or the statistics belong to
    another batch.
    """
    from diabetes_platform.cleaning.clean import ROW_KEY_SCHEMA, clean, find_duplicates

    batch_id = batch_id_of(batch_hash(content_hash, labels))
    rows = _received(spark, raw, content_hash, labels)
    fitted = read_statistics(statistics, batch_id)
    # Collected by the client (9 bytes per duplicate), so that the engine knows their number. In a
    # join with the plan itself, Sail would hash the whole batch: gigabytes for 10 million rows.
    row_keys = find_duplicates(rows).toArrow()
    # The client cannot infer a schema without rows.
    duplicates = spark.createDataFrame(row_keys, ROW_KEY_SCHEMA)
    frame = clean(rows, duplicates, fitted, batch_id)
    cleaned.create(CLEANED_PATIENTS, configuration=WITHOUT_COLUMN_STATISTICS)
    # Not partitioned by verdict: both engines would sort the whole batch before writing.
    frame.write.format("delta").mode("overwrite").save(cleaned.for_spark)
    counts = count_verdicts(cleaned)
    return CleanResult(
        rows=sum(counts.verdicts.values()),
        accepted=counts.verdicts.get(ACCEPTED, 0),
        rejected=counts.verdicts.get(REJECTED, 0),
        reasons=dict(sorted(counts.reasons.items(), key=lambda item: (-item[1], item[0]))),
        batch_id=batch_id,
        path=cleaned.path,
        delta_version=counts.version,
    )


def _received(
    spark: "SparkSession", raw: DeltaPath, content_hash: str, labels: Labels | None
) -> "DataFrame":
    """Return the rows of the batch, of source and labels, with their row keys."""
    from pyspark.sql import functions as sf

    from diabetes_platform.cleaning.clean import LABELLED

    tune_for_batch(spark, _row_count(require_batch(raw, content_hash), labels))
    stored = spark.read.format("delta").load(raw.for_spark)
    rows = stored.where(sf.col("content_hash") == content_hash).select(
        sf.lit(False).alias(LABELLED), *_ORIGIN, *_field_columns(raw.open())
    )
    return rows if labels is None else rows.union(_labelled(spark, labels))


def _labelled(spark: "SparkSession", labels: Labels) -> "DataFrame":
    from pyspark.sql import functions as sf

    from diabetes_platform.cleaning.clean import LABELLED

    read = spark.read.format("delta").option("versionAsOf", str(labels.version))
    line, source = _ORIGIN
    return read.load(labels.table.for_spark).select(
        sf.lit(True).alias(LABELLED),
        sf.col(*LABELLED_PATIENTS.key).alias(line),
        sf.lit(STREAM_PATIENTS.name).alias(source),
        *_field_columns(labels.table.open(labels.version)),
    )


def _field_columns(opened: "DeltaTable") -> "list[Column]":
    """Select every field as text; a field that this version of the table lacks is NULL."""
    from pyspark.sql import functions as sf

    present = {column.name for column in opened.schema().fields}
    return [
        (sf.col(name) if name in present else sf.lit(None).cast("string")).alias(name)
        for name in FIELD_NAMES
    ]


def _row_count(raw_rows: int | None, labels: Labels | None) -> int | None:
    labelled = 0 if labels is None else require_labels(labels)
    return None if raw_rows is None or labelled is None else raw_rows + labelled


@dataclass(frozen=True, slots=True)
class QuarantineResult:
    """The result of `quarantine_batch`: the number of rejected rows of the batch."""

    rows: int
    batch_id: str
    path: str
    delta_version: int


def quarantine_batch(
    cleaned: DeltaPath, batch_id: str, quarantine: DeltaPath, *, version: int | None = None
) -> QuarantineResult:
    """Copy the batch's rejected rows to `quarantine/patients`; replaces its rows there.

    They are read from `version` of the cleaned table, by default the newest. Raises LakeError if
    that table is missing, CleaningError if it contains another batch.
    """
    import pyarrow.dataset as ds

    version = require_single_batch(cleaned, checked_batch_id(batch_id), version)
    schema = row_schema(QUARANTINE_PATIENTS)
    with cleaned.s3.errors(cleaned.path):
        dataset = cleaned.open(version).to_pyarrow_dataset()
        stored = projection(
            dataset,
            CLEANED_PATIENTS,
            [_RECEIVED_COLUMNS.get(name, name) for name in schema.names],
        )
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
    rows, written_version = count_batch_rows(quarantine, batch_id)
    return QuarantineResult(rows, batch_id, quarantine.path, written_version)
