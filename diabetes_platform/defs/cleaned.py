"""Spark's assets: statistics of the batch, every row with its verdict, and the quarantine."""

import dagster as dg

from diabetes_platform.cleaning.jobs import clean_batch, fit_statistics, quarantine_batch
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    QUARANTINE_PATIENTS,
    RAW_PATIENTS,
    STATISTICS_PATIENTS,
)
from diabetes_platform.defs.describe import (
    CLEANED,
    QUARANTINE,
    RAW,
    STATISTICS,
    asset_options,
    table_metadata,
)
from diabetes_platform.defs.memory import (
    INPUT_VERSION,
    current_batch,
    input_version,
    is_unchanged,
    recall,
    remembered,
)
from diabetes_platform.defs.refusals import refusals
from diabetes_platform.defs.resources import Spark
from diabetes_platform.lake.delta import DeltaPath
from diabetes_platform.lake.tables import Lake

CODE_VERSION = "1"
"""Raise it when the rules change: every batch is then cleaned again."""


def _unchanged(
    context: dg.AssetExecutionContext, key: dg.AssetKey, table: DeltaPath, version: str
) -> bool:
    """Whether the table holds what the event log says it was made from."""
    return (
        is_unchanged(context, key, version)
        and table.exists()
        and table.version() == recall(context, key, "delta_version")
    )


def _again(
    context: dg.AssetExecutionContext, key: dg.AssetKey, version: str
) -> dg.MaterializeResult:
    """Report an asset whose input has not changed: nothing was computed."""
    context.log.info("%s: input unchanged, not processed again", key.to_user_string())
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={**remembered(context, key), "processed": False},
    )


@dg.asset(
    **asset_options(STATISTICS, {"spark", "deltalake"}, CODE_VERSION),
    deps=[RAW],
    description="Quartiles and outer fences of each measurement: they fill, scale and fence.",
    metadata=table_metadata(STATISTICS_PATIENTS),
)
def statistics_patients(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    spark: dg.ResourceParam[Spark],
) -> dg.MaterializeResult:
    """Fit the statistics of the current batch."""
    batch = current_batch(context)
    version = input_version("statistics", CODE_VERSION, batch.content_hash)
    target = lake.table(STATISTICS_PATIENTS)
    if _unchanged(context, STATISTICS, target, version):
        return _again(context, STATISTICS, version)
    with refusals(), spark.session() as session:
        fitted = fit_statistics(session, lake.table(RAW_PATIENTS), batch.content_hash, target)
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
    **asset_options(CLEANED, {"spark", "deltalake"}, CODE_VERSION),
    deps=[RAW, STATISTICS],
    description="Every row of the batch: as received, parsed, filled, scaled, verdict and reasons.",
    metadata=table_metadata(CLEANED_PATIENTS, {RAW: RAW_PATIENTS}),
)
def cleaned_patients(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    spark: dg.ResourceParam[Spark],
) -> dg.MaterializeResult:
    """Judge every row of the current batch."""
    batch = current_batch(context)
    version = input_version("cleaned", CODE_VERSION, batch.content_hash)
    target = lake.table(CLEANED_PATIENTS)
    if _unchanged(context, CLEANED, target, version):
        return _again(context, CLEANED, version)
    with refusals(), spark.session() as session:
        cleaned = clean_batch(
            session,
            lake.table(RAW_PATIENTS),
            batch.content_hash,
            lake.table(STATISTICS_PATIENTS),
            target,
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
            "delta_version": cleaned.delta_version,
            INPUT_VERSION: version,
            "processed": True,
        },
    )


@dg.asset(
    **asset_options(QUARANTINE, {"spark", "deltalake"}, CODE_VERSION),
    deps=[CLEANED],
    description="Rejected rows as received, each with all its reasons.",
    metadata=table_metadata(QUARANTINE_PATIENTS, {CLEANED: CLEANED_PATIENTS}),
)
def quarantine_patients(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    spark: dg.ResourceParam[Spark],
) -> dg.MaterializeResult:
    """Keep the rejected rows of the current batch."""
    batch_id = str(recall(context, CLEANED, "batch_id"))
    version = input_version("quarantine", CODE_VERSION, recall(context, CLEANED, INPUT_VERSION))
    target = lake.table(QUARANTINE_PATIENTS)
    if _unchanged(context, QUARANTINE, target, version):
        return _again(context, QUARANTINE, version)
    with refusals(), spark.session() as session:
        kept = quarantine_batch(
            session,
            lake.table(CLEANED_PATIENTS),
            batch_id,
            target,
            version=int(recall(context, CLEANED, "delta_version")),
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
