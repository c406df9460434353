"""The batch jobs: fit statistics, clean a batch, quarantine its rejected rows.

Spark runs the rules only. The few rows around them are read and written by deltalake, because
planning a Spark query takes longer than cleaning a small batch.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deltalake import write_deltalake

from diabetes_platform.cleaning.batch_tables import (
    Labels,
    batch_hash,
    checked_batch_id,
    count_verdicts,
    read_statistics,
    require_batch,
    require_labels,
    require_only,
    rows_of,
    write_statistics,
)
from diabetes_platform.cleaning.reconciliation import ACCEPTED, REJECTED
from diabetes_platform.cleaning.session import suit
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
from diabetes_platform.lake.arrow import arrow_schema
from diabetes_platform.lake.delta import DeltaPath

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from diabetes_platform.cleaning.statistics import FieldStatistics

_ORIGIN = (SOURCE_LINE.name, SOURCE.name)
WITHOUT_COLUMN_STATISTICS = {"delta.dataSkippingNumIndexedCols": "0"}
"""Minima and maxima of sixty columns in the log: nobody asks for them, and writing them is slow."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What `fit_statistics` wrote."""

    statistics: "tuple[FieldStatistics, ...]"
    batch_id: str
    path: str
    delta_version: int


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What `clean_batch` wrote: `reasons` counts rows by reason, most frequent first."""

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
) -> Fitted:
    """Fit the batch's statistics and overwrite `statistics/patients` with them.

    The batch is the raw rows of that content and the labels, where it has any. Raises LakeError
    where a table is not there, CleaningError where rows of the batch are not in it.
    """
    from diabetes_platform.cleaning.statistics import fit

    batch_id = batch_id_of(batch_hash(content_hash, labels))
    fitted = fit(_received(spark, raw, content_hash, labels))
    version = write_statistics(statistics, fitted, batch_id)
    return Fitted(tuple(fitted), batch_id, statistics.path, version)


def clean_batch(
    spark: "SparkSession",
    raw: DeltaPath,
    content_hash: str,
    statistics: DeltaPath,
    cleaned: DeltaPath,
    labels: Labels | None = None,
) -> Cleaned:
    """Judge every row of the batch and overwrite `cleaned/patients`.

    The batch is the raw rows of that content and the labels, where it has any. Raises LakeError
    where a table is not there, CleaningError where rows of the batch are not in it, or where the
    statistics are another batch's.
    """
    from diabetes_platform.cleaning.clean import PLACE_SCHEMA, clean, duplicate_places

    batch_id = batch_id_of(batch_hash(content_hash, labels))
    rows = _received(spark, raw, content_hash, labels)
    fitted = read_statistics(statistics, batch_id)
    # Through the client, 9 bytes a duplicate: a relation of known size. Of a join with the plan
    # itself, Sail builds the hash table from the whole batch: gigabytes at 10 M rows.
    places = duplicate_places(rows).toArrow()
    # The schema is said: the client infers none where there is no duplicate.
    duplicates = spark.createDataFrame(places, PLACE_SCHEMA)
    frame = clean(rows, duplicates, fitted, batch_id)
    cleaned.create(CLEANED_PATIENTS, configuration=WITHOUT_COLUMN_STATISTICS)
    # Not partitioned by verdict: both engines would sort the whole batch before they write it.
    frame.write.format("delta").mode("overwrite").save(cleaned.for_spark)
    counted = count_verdicts(cleaned)
    return Cleaned(
        rows=sum(counted.verdicts.values()),
        accepted=counted.verdicts.get(ACCEPTED, 0),
        rejected=counted.verdicts.get(REJECTED, 0),
        reasons=dict(sorted(counted.reasons.items(), key=lambda item: (-item[1], item[0]))),
        batch_id=batch_id,
        path=cleaned.path,
        delta_version=counted.version,
    )


def _received(
    spark: "SparkSession", raw: DeltaPath, content_hash: str, labels: Labels | None
) -> "DataFrame":
    """Return the rows of the batch, those of its source and its labels, each with its place."""
    from pyspark.sql import functions as sf

    from diabetes_platform.cleaning.clean import LABELLED

    suit(spark, _count(require_batch(raw, content_hash), labels))
    stored = spark.read.format("delta").load(raw.for_spark)
    rows = stored.where(sf.col("content_hash") == content_hash).select(
        sf.lit(False).alias(LABELLED), *_ORIGIN, *FIELD_NAMES
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
        *FIELD_NAMES,
    )


def _count(raw_rows: int | None, labels: Labels | None) -> int | None:
    labelled = 0 if labels is None else require_labels(labels)
    return None if raw_rows is None or labelled is None else raw_rows + labelled


_STORED_AS = {field.name: f"{field.name}_received" for field in FIELDS}
"""Where a value as received stands in the cleaned table: its own name has the measurement."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What `quarantine_batch` wrote: `rows` rejected rows of the batch."""

    rows: int
    batch_id: str
    path: str
    delta_version: int


def quarantine_batch(
    cleaned: DeltaPath, batch_id: str, quarantine: DeltaPath, *, version: int | None = None
) -> Quarantined:
    """Put the batch's rejected rows into `quarantine/patients`, replacing the batch's earlier ones.

    They are those of `version` of the cleaned table, or of the newest. Raises LakeError where
    there is no such table, CleaningError where it holds another batch.
    """
    import pyarrow.dataset as ds

    version = require_only(cleaned, checked_batch_id(batch_id), version)
    schema = arrow_schema(QUARANTINE_PATIENTS)
    columns = {name: ds.field(_STORED_AS.get(name, name)) for name in schema.names}
    with cleaned.s3.errors(cleaned.path):
        scanner = (
            cleaned.open(version)
            .to_pyarrow_dataset()
            .scanner(columns=columns, filter=ds.field("verdict") == REJECTED)
        )
    quarantine.create(QUARANTINE_PATIENTS, partition_by="batch_id")
    with quarantine.s3.errors(quarantine.path):
        write_deltalake(
            quarantine.path,
            scanner.to_reader().cast(schema),
            mode="overwrite",
            predicate=f"batch_id = '{batch_id}'",
            storage_options=quarantine.storage_options,
        )
    rows, written = rows_of(quarantine, batch_id)
    return Quarantined(rows, batch_id, quarantine.path, written)
