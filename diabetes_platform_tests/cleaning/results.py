"""Helpers that clean a batch and read the stored rows of a table."""

from dataclasses import dataclass

from deltalake import DeltaTable
from pyspark.sql import SparkSession

from diabetes_platform.cleaning.spark_jobs import (
    CleanResult,
    Labels,
    batch_hash,
    clean_batch,
    fit_statistics,
    quarantine_batch,
)
from diabetes_platform.cleaning.statistics import FieldStatistics
from diabetes_platform.contract.tables import batch_id_of
from diabetes_platform.lake.delta import DeltaPath
from diabetes_platform_tests.cleaning.batches import Batch


@dataclass(frozen=True)
class Results:
    batch_id: str
    statistics: list[FieldStatistics]
    cleaned: CleanResult
    quarantined: int


def run(spark: SparkSession, batch: Batch, labels: Labels | None = None) -> Results:
    statistics, cleaned = batch.table("statistics"), batch.table("cleaned")
    batch_id = batch_id_of(batch_hash(batch.content_hash, labels))
    return Results(
        batch_id,
        fit_statistics(spark, batch.raw, batch.content_hash, statistics, labels),
        clean_batch(spark, batch.raw, batch.content_hash, statistics, cleaned, labels),
        quarantine_batch(cleaned, batch_id, batch.table("quarantine")),
    )


def stored(path: DeltaPath, key: str = "source_line") -> list[dict[str, object]]:
    rows = DeltaTable(path.path).to_pyarrow_table().to_pylist()
    return sorted(rows, key=lambda row: row[key])
