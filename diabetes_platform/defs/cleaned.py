"""The cleaning's assets: statistics, every row with its verdict (by Spark), the quarantine."""

import dagster as dg

from diabetes_platform.cleaning.jobs import clean_batch, fit_statistics
from diabetes_platform.cleaning.quarantine import quarantine_batch
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    QUARANTINE_PATIENTS,
    RAW_PATIENTS,
    STATISTICS_PATIENTS,
)
from diabetes_platform.defs.describe import (
    CLEANED,
    CLEANING_POOL,
    QUARANTINE,
    RAW,
    STATISTICS,
    asset_options,
    table_metadata,
)
from diabetes_platform.defs.memory import (
    INPUT_VERSION,
    Memory,
    current_batch,
    input_version,
    remember,
)
from diabetes_platform.defs.refusals import refusals
from diabetes_platform.defs.resources import Spark
from diabetes_platform.defs.retries import retried
from diabetes_platform.lake.delta import DeltaPath
from diabetes_platform.lake.tables import Lake

CODE_VERSION = "1"
"""Raise it when the rules change: every batch is then cleaned again."""


def _unchanged(before: Memory, table: DeltaPath, version: str) -> bool:
    """Whether the table holds what the event log says it was made from."""
    if not (before.was_made_from(version) and table.exists()):
        return False
    made = int(before.recall("delta_version"))
    # Looking past maintenance reads the table's log: only where the version has moved.
    return table.version() == made or table.version_of_rows() == made


def _again(context: dg.AssetExecutionContext, before: Memory, version: str) -> dg.MaterializeResult:
    """Report an asset whose input has not changed: nothing was computed."""
    context.log.info("%s: input unchanged, not processed again", before.key.to_user_string())
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={**before.metadata, "processed": False},
    )


@dg.asset(
    **asset_options(STATISTICS, {"spark", "deltalake"}, CLEANING_POOL, CODE_VERSION),
    deps=[RAW],
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
    if _unchanged(before, target, version):
        return _again(context, before, version)
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
    **asset_options(CLEANED, {"spark", "deltalake"}, CLEANING_POOL, CODE_VERSION),
    deps=[RAW, STATISTICS],
    description="Every row of the batch: as received, parsed, filled, scaled, verdict and reasons.",
    metadata=table_metadata(CLEANED_PATIENTS, {RAW: RAW_PATIENTS}),
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
    if _unchanged(before, target, version):
        return _again(context, before, version)
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
    **asset_options(QUARANTINE, {"deltalake"}, CLEANING_POOL, CODE_VERSION),
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
    if _unchanged(before, target, version):
        return _again(context, before, version)
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
