"""The jobs of the batch path that Spark does: read Delta tables, apply the rules, write, count."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from diabetes_platform.cleaning.tables import (
    CleaningError,
    checked_batch_id,
    require_batch,
)
from diabetes_platform.contract.fields import FIELDS
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    QUARANTINE_PATIENTS,
    STATISTICS_PATIENTS,
    batch_id_of,
)
from diabetes_platform.lake.delta import DeltaPath

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from diabetes_platform.cleaning.statistics import FieldStatistics


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


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What `quarantine_batch` wrote: `rows` rejected rows of the batch."""

    rows: int
    batch_id: str
    path: str
    delta_version: int


def fit_statistics(
    spark: "SparkSession", raw: DeltaPath, content_hash: str, statistics: DeltaPath
) -> Fitted:
    """Fit the batch's statistics and overwrite `statistics/patients` with them.

    Raises LakeError where there is no raw table, CleaningError where the batch is not in it.
    """
    from diabetes_platform.cleaning.schema import spark_schema
    from diabetes_platform.cleaning.statistics import fit

    batch_id = batch_id_of(content_hash)
    fitted = fit(_raw_rows(spark, raw, content_hash))
    rows = [
        (f.field, f.count, f.q1, f.median, f.q3, f.lower_fence, f.upper_fence, batch_id)
        for f in fitted
    ]
    frame = spark.createDataFrame(rows, spark_schema(STATISTICS_PATIENTS))
    frame.coalesce(1).write.format("delta").mode("overwrite").save(statistics.for_spark)
    return Fitted(tuple(fitted), batch_id, statistics.path, statistics.version())


def clean_batch(
    spark: "SparkSession",
    raw: DeltaPath,
    content_hash: str,
    statistics: DeltaPath,
    cleaned: DeltaPath,
) -> Cleaned:
    """Judge every row of the batch and overwrite `cleaned/patients`.

    Raises LakeError where a table is not there, CleaningError where the batch is not, or where
    the statistics are another batch's.
    """
    from diabetes_platform.cleaning.clean import clean
    from diabetes_platform.cleaning.duplicates import SOURCE_LINE, duplicate_lines

    batch_id = batch_id_of(content_hash)
    rows = _raw_rows(spark, raw, content_hash)
    fitted = read_statistics(spark, statistics, batch_id)
    # Through the client, 8 bytes a duplicate: a relation of known size. Of a join with the plan
    # itself, Sail builds the hash table from the whole batch: gigabytes at 10 M rows.
    lines = duplicate_lines(rows).toArrow()
    # The schema is said: the client infers none where there is no duplicate.
    duplicates = spark.createDataFrame(lines, f"{SOURCE_LINE} bigint")
    frame = clean(rows, duplicates, fitted, batch_id)
    cleaned.create(CLEANED_PATIENTS)
    # Not partitioned by verdict: both engines would sort the whole batch before they write it.
    frame.write.format("delta").mode("overwrite").save(cleaned.for_spark)
    return _count(spark, cleaned, batch_id)


def quarantine_batch(
    spark: "SparkSession",
    cleaned: DeltaPath,
    batch_id: str,
    quarantine: DeltaPath,
    *,
    version: int | None = None,
) -> Quarantined:
    """Put the batch's rejected rows into `quarantine/patients`, replacing the batch's earlier ones.

    They are those of `version` of the cleaned table, or of the newest. Raises LakeError where
    there is no such table, CleaningError where it holds another batch.
    """
    from pyspark.sql import functions as sf

    from diabetes_platform.cleaning.conservation import REJECTED
    from diabetes_platform.cleaning.schema import conform

    version = cleaned.open(version).version()
    rows = spark.read.format("delta").option("versionAsOf", version).load(cleaned.for_spark)
    _require_only(rows, checked_batch_id(batch_id), cleaned)
    rejected = rows.where(sf.col("verdict") == REJECTED)
    as_received = rejected.drop(*(field.name for field in FIELDS)).withColumnsRenamed(
        {f"{field.name}_received": field.name for field in FIELDS}
    )
    new = conform(as_received, QUARANTINE_PATIENTS)
    options = {}
    if quarantine.exists():
        # The empty part gives the new rows the table's own types: Sail names the elements of an
        # array in another way than Apache Spark and would refuse a table that Spark has written.
        stored = spark.read.format("delta").load(quarantine.for_spark)
        new = stored.limit(0).unionByName(new)
        options["replaceWhere"] = f"batch_id = '{batch_id}'"
    writer = new.write.format("delta").mode("overwrite").partitionBy("batch_id")
    writer.options(**options).save(quarantine.for_spark)
    written = spark.read.format("delta").load(quarantine.for_spark)
    count = written.where(sf.col("batch_id") == batch_id).count()
    return Quarantined(count, batch_id, quarantine.path, quarantine.version())


def read_statistics(
    spark: "SparkSession", statistics: DeltaPath, batch_id: str
) -> "list[FieldStatistics]":
    """Read the newest statistics; CleaningError where they are absent or another batch's."""
    from diabetes_platform.cleaning.statistics import FieldStatistics

    statistics.open()
    rows = [row.asDict() for row in spark.read.format("delta").load(statistics.for_spark).collect()]
    found = {row.pop("batch_id") for row in rows}
    if found != {batch_id}:
        raise CleaningError(
            f"{statistics.path}: given statistics of batch {sorted(found)}, allowed {batch_id}"
        )
    return [FieldStatistics(**row) for row in rows]


def _raw_rows(spark: "SparkSession", raw: DeltaPath, content_hash: str) -> "DataFrame":
    from pyspark.sql import functions as sf

    require_batch(raw, content_hash)
    rows = spark.read.format("delta").load(raw.for_spark)
    return rows.where(sf.col("content_hash") == content_hash)


def _require_only(rows: "DataFrame", batch_id: str, cleaned: DeltaPath) -> None:
    """Raise CleaningError where the cleaned table holds another batch than the one asked for."""
    from pyspark.sql import functions as sf

    found = rows.where(sf.col("batch_id") != batch_id).select("batch_id").first()
    if found is not None:
        raise CleaningError(f"{cleaned.path}: given batch {found['batch_id']}, allowed {batch_id}")


def _count(spark: "SparkSession", cleaned: DeltaPath, batch_id: str) -> Cleaned:
    """Count the table as written: verdicts, and reasons from rejected rows."""
    from pyspark.sql import functions as sf

    from diabetes_platform.cleaning.conservation import ACCEPTED, REJECTED

    rows = spark.read.format("delta").load(cleaned.for_spark)
    verdicts = {row["verdict"]: row["count"] for row in rows.groupBy("verdict").count().collect()}
    rejected = rows.where(sf.col("verdict") == REJECTED)
    by_reason = rejected.select(sf.explode("reasons").alias("reason")).groupBy("reason").count()
    reasons = {row["reason"]: row["count"] for row in by_reason.collect()}
    return Cleaned(
        rows=sum(verdicts.values()),
        accepted=verdicts.get(ACCEPTED, 0),
        rejected=verdicts.get(REJECTED, 0),
        reasons=dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        batch_id=batch_id,
        path=cleaned.path,
        delta_version=cleaned.version(),
    )
