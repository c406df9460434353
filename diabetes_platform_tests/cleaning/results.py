"""Helpers that clean a batch and read the stored rows of a table."""

from dataclasses import dataclass

from deltalake import DeltaTable
from pyspark.sql import SparkSession

from diabetes_platform.cleaning.batch_tables import Labels
from diabetes_platform.cleaning.jobs import (
    CleanResult,
    FitResult,
    QuarantineResult,
    clean_batch,
    fit_statistics,
    quarantine_batch,
)
from diabetes_platform.lake.delta import DeltaPath
from diabetes_platform_tests.cleaning.batches import Batch


@dataclass(frozen=True)
class Results:
    fitted: FitResult
    cleaned: CleanResult
    quarantined: QuarantineResult


def run(spark: SparkSession, batch: Batch, labels: Labels | None = None) -> Results:
    statistics, cleaned = batch.table("statistics"), batch.table("cleaned")
    fitted = fit_statistics(spark, batch.raw, batch.content_hash, statistics, labels)
    return Results(
        fitted,
        clean_batch(spark, batch.raw, batch.content_hash, statistics, cleaned, labels),
        quarantine_batch(cleaned, fitted.batch_id, batch.table("quarantine")),
    )


def stored(path: DeltaPath, key: str = "source_line") -> list[dict[str, object]]:
    rows = DeltaTable(path.path).to_pyarrow_table().to_pylist()
    return sorted(rows, key=lambda row: row[key])
