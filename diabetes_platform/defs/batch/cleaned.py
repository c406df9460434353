"""The cleaning's assets: statistics, every row with its verdict (by Spark), the quarantine."""

import dagster as dg

from diabetes_platform.cleaning.jobs import clean_batch, fit_statistics, quarantine_batch
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    LABELLED_PATIENTS,
    QUARANTINE_PATIENTS,
    RAW_PATIENTS,
    STATISTICS_PATIENTS,
)
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.automation import FOLLOW
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
from diabetes_platform.orchestration.memory import (
    INPUT_VERSION,
    again,
    current_batch,
    input_version,
    remember,
    unchanged,
)
from diabetes_platform.orchestration.refusals import refusals
from diabetes_platform.orchestration.resources import Spark
from diabetes_platform.orchestration.retries import retried

CODE_VERSION = "1"
"""Raise it when the rules change: every batch is then cleaned again."""


@dg.asset(
    **asset_options(STATISTICS, {"spark", "deltalake"}, CLEANING_POOL, CODE_VERSION),
    automation_condition=FOLLOW,
    deps=[RAW, LABELS],
    description="Quartiles and outer fences of each measurement: they fill, scale and fence.",
    metadata=table_metadata(STATISTICS_PATIENTS),
)
@retried
def statistics_patients(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    spark: dg.ResourceParam[Spark],
) -> dg.MaterializeResult:
    """Fit the statistics of the current batch."""
    batch = current_batch(context)
    version = input_version("statistics", CODE_VERSION, batch.content_hash)
    target = lake.table(STATISTICS_PATIENTS)
    before = remember(context, STATISTICS)
    if unchanged(before, target, version):
        return again(context, before, version)
    with refusals(), spark.session() as session:
        fitted = fit_statistics(
            session, lake.table(RAW_PATIENTS), batch.raw_hash, target, batch.labels(lake)
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            "dagster/row_count": len(fitted.statistics),
            "dagster/uri": fitted.path,
            "batch_id": fitted.batch_id,
            "delta_version": fitted.delta_version,
            INPUT_VERSION: version,
            "processed": True,
            **{f"median/{each.field}": each.median for each in fitted.statistics},
        },
    )


@dg.asset(
    **asset_options(CLEANED, {"spark", "deltalake"}, CLEANING_POOL, CODE_VERSION),
    automation_condition=FOLLOW,
    deps=[RAW, LABELS, STATISTICS],
    description="Every row of the batch, of its source and of the stream: as received, parsed, "
    "filled, scaled, verdict and reasons.",
    metadata=table_metadata(CLEANED_PATIENTS, {RAW: RAW_PATIENTS, LABELS: LABELLED_PATIENTS}),
)
@retried
def cleaned_patients(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    spark: dg.ResourceParam[Spark],
) -> dg.MaterializeResult:
    """Judge every row of the current batch."""
    batch = current_batch(context)
    version = input_version("cleaned", CODE_VERSION, batch.content_hash)
    target = lake.table(CLEANED_PATIENTS)
    before = remember(context, CLEANED)
    if unchanged(before, target, version):
        return again(context, before, version)
    with refusals(), spark.session() as session:
        cleaned = clean_batch(
            session,
            lake.table(RAW_PATIENTS),
            batch.raw_hash,
            lake.table(STATISTICS_PATIENTS),
            target,
            batch.labels(lake),
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            "dagster/row_count": cleaned.rows,
            "dagster/uri": cleaned.path,
            "batch_id": cleaned.batch_id,
            "accepted": cleaned.accepted,
            "rejected": cleaned.rejected,
            "reasons": dg.MetadataValue.json(cleaned.reasons),
            **batch.origin,
            "delta_version": cleaned.delta_version,
            INPUT_VERSION: version,
            "processed": True,
        },
    )


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
    """Keep the rejected rows of the current batch."""
    cleaned = remember(context, CLEANED)
    batch_id = str(cleaned.recall("batch_id"))
    version = input_version("quarantine", CODE_VERSION, cleaned.recall(INPUT_VERSION))
    target = lake.table(QUARANTINE_PATIENTS)
    before = remember(context, QUARANTINE)
    if unchanged(before, target, version):
        return again(context, before, version)
    with refusals():
        kept = quarantine_batch(
            lake.table(CLEANED_PATIENTS),
            batch_id,
            target,
            version=int(cleaned.recall("delta_version")),
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            "dagster/row_count": kept.rows,
            "dagster/uri": kept.path,
            "batch_id": kept.batch_id,
            "delta_version": kept.delta_version,
            INPUT_VERSION: version,
            "processed": True,
        },
    )
