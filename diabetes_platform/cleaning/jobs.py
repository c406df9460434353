"""The jobs of the batch path that Spark does: read the raw table, apply the rules, write.

What is a few rows, or stands in a table's log, is read and written without it: to plan a query
takes Apache Spark longer than to clean a small batch.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from diabetes_platform.cleaning.conservation import ACCEPTED, REJECTED
from diabetes_platform.cleaning.session import suit
from diabetes_platform.cleaning.tables import (
    count_verdicts,
    read_statistics,
    require_batch,
    write_statistics,
)
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    batch_id_of,
)
from diabetes_platform.lake.delta import DeltaPath

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from diabetes_platform.cleaning.statistics import FieldStatistics

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
    spark: "SparkSession", raw: DeltaPath, content_hash: str, statistics: DeltaPath
) -> Fitted:
    """Fit the batch's statistics and overwrite `statistics/patients` with them.

    Raises LakeError where there is no raw table, CleaningError where the batch is not in it.
    """
    from diabetes_platform.cleaning.statistics import fit

    batch_id = batch_id_of(content_hash)
    fitted = fit(_raw_rows(spark, raw, content_hash))
    version = write_statistics(statistics, fitted, batch_id)
    return Fitted(tuple(fitted), batch_id, statistics.path, version)


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
    fitted = read_statistics(statistics, batch_id)
    # Through the client, 8 bytes a duplicate: a relation of known size. Of a join with the plan
    # itself, Sail builds the hash table from the whole batch: gigabytes at 10 M rows.
    lines = duplicate_lines(rows).toArrow()
    # The schema is said: the client infers none where there is no duplicate.
    duplicates = spark.createDataFrame(lines, f"{SOURCE_LINE} bigint")
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


def _raw_rows(spark: "SparkSession", raw: DeltaPath, content_hash: str) -> "DataFrame":
    from pyspark.sql import functions as sf

    suit(spark, require_batch(raw, content_hash))
    rows = spark.read.format("delta").load(raw.for_spark)
    return rows.where(sf.col("content_hash") == content_hash)
