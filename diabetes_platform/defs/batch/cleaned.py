"""Statistics, cleaned rows with their verdicts, and quarantine of a batch; Spark does the work."""

from typing import Any

import dagster as dg

from diabetes_platform.cleaning.spark_jobs import clean_batch, fit_statistics, quarantine_batch
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    LABELLED_PATIENTS,
    QUARANTINE_PATIENTS,
    RAW_PATIENTS,
    STATISTICS_PATIENTS,
)
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.automation import FOLLOW
from diabetes_platform.orchestration.batch_state import (
    BatchReference,
    cleaned_batch,
    current_batch,
    input_version,
    materialize_if_changed,
)
from diabetes_platform.orchestration.describe import (
    CLEANED,
    CLEANING_POOL,
    LABELS,
    QUARANTINE,
    RAW,
    STATISTICS,
    asset_options,
    table_metadata,
)
from diabetes_platform.orchestration.resources import Spark
from diabetes_platform.orchestration.retries import retried
from diabetes_platform.settings import PlatformSettings

CODE_VERSION = "2"
"""Increment it when the rules or the staged columns change: every batch is then cleaned again."""


def _input_version(asset: str, batch: BatchReference, settings: PlatformSettings) -> str:
    """Return the version of the batch together with the texts that mean "missing"."""
    texts = sorted(settings.missing_texts)
    return input_version(asset, CODE_VERSION, batch.content_hash, *texts)


@dg.asset(
    **asset_options(STATISTICS, {"spark", "deltalake"}, CLEANING_POOL, CODE_VERSION),
    automation_condition=FOLLOW,
    deps=[RAW, LABELS],
    description="Quartiles and outer fences of each measurement: they fill, scale and reject.",
    metadata=table_metadata(STATISTICS_PATIENTS),
)
@retried
def statistics_patients(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[PlatformSettings],
    lake: dg.ResourceParam[Lake],
    spark: dg.ResourceParam[Spark],
) -> dg.MaterializeResult:
    """Fit the statistics of the current batch."""
    batch, target = current_batch(lake), lake.table(STATISTICS_PATIENTS)

    def build() -> dict[str, Any]:
        raw, labels = lake.table(RAW_PATIENTS), batch.labels(lake)
        with spark.session() as session:
            fitted = fit_statistics(
                session, raw, batch.raw_hash, target, labels, missing_texts=settings.missing_texts
            )
        return {
            "dagster/row_count": len(fitted),
            "batch_id": batch.batch_id,
            **{f"median/{field.field}": field.median for field in fitted},
        }

    version = _input_version("statistics", batch, settings)
    return materialize_if_changed(context, target, version, build)


@dg.asset(
    **asset_options(CLEANED, {"spark", "deltalake"}, CLEANING_POOL, CODE_VERSION),
    automation_condition=FOLLOW,
    deps=[RAW, LABELS, STATISTICS],
    description="Every row of the batch, from its source and from the stream: as received, parsed, "
    "filled, scaled, with verdict and reasons.",
    metadata=table_metadata(CLEANED_PATIENTS, {RAW: RAW_PATIENTS, LABELS: LABELLED_PATIENTS}),
)
@retried
def cleaned_patients(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[PlatformSettings],
    lake: dg.ResourceParam[Lake],
    spark: dg.ResourceParam[Spark],
) -> dg.MaterializeResult:
    """Clean every row of the current batch and give it a verdict."""
    batch, target = current_batch(lake), lake.table(CLEANED_PATIENTS)

    def build() -> dict[str, Any]:
        raw, statistics = lake.table(RAW_PATIENTS), lake.table(STATISTICS_PATIENTS)
        labels = batch.labels(lake)
        with spark.session() as session:
            cleaned = clean_batch(
                session,
                raw,
                batch.raw_hash,
                statistics,
                target,
                labels,
                missing_texts=settings.missing_texts,
            )
        return {
            "dagster/row_count": cleaned.rows,
            "batch_id": batch.batch_id,
            "accepted": cleaned.accepted,
            "rejected": cleaned.rejected,
            "reasons": cleaned.reasons,
            **batch.origin,
        }

    version = _input_version("cleaned", batch, settings)
    return materialize_if_changed(context, target, version, build)


@dg.asset(
    **asset_options(QUARANTINE, {"deltalake"}, CLEANING_POOL, CODE_VERSION),
    automation_condition=FOLLOW,
    deps=[CLEANED],
    description="Rejected rows as received, each with all its reasons.",
    metadata=table_metadata(QUARANTINE_PATIENTS, {CLEANED: CLEANED_PATIENTS}),
)
@retried
def quarantine_patients(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
) -> dg.MaterializeResult:
    """Copy the rejected rows of the cleaned batch."""
    cleaned, target = cleaned_batch(lake), lake.table(QUARANTINE_PATIENTS)

    def build() -> dict[str, Any]:
        table = lake.table(CLEANED_PATIENTS)
        rows = quarantine_batch(table, cleaned.batch_id, target, version=cleaned.version)
        return {"dagster/row_count": rows, "batch_id": cleaned.batch_id}

    version = input_version("quarantine", CODE_VERSION, cleaned.input_version)
    return materialize_if_changed(context, target, version, build)
