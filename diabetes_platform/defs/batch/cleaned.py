"""Statistics, cleaned rows with their verdicts, and quarantine of a batch; Spark does the work.

`few_rows_rejected` stops a batch before its accepted rows, which may be few, reach PostgreSQL.
"""

from typing import Any

import dagster as dg

from diabetes_platform.cleaning.spark_jobs import (
    clean_batch,
    count_rows,
    fit_statistics,
    quarantine_batch,
)
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    LABELLED_PATIENTS,
    QUARANTINE_PATIENTS,
    RAW_PATIENTS,
    STATISTICS_PATIENTS,
)
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.acceptance import Acceptance
from diabetes_platform.orchestration.automation import FOLLOW, with_asset
from diabetes_platform.orchestration.batch_state import (
    SOURCE_VERSION,
    cleaned_batch,
    current_batch,
    input_version,
    materialize_if_changed,
    rejected_rows,
    rejection_level,
)
from diabetes_platform.orchestration.check_results import (
    FEW_ROWS_REJECTED,
    counts_markdown,
    percent,
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
from diabetes_platform.orchestration.resources import Spark, Warehouse
from diabetes_platform.orchestration.retries import retried
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.warehouse.staging import read_acceptances

CODE_VERSION = "2"
"""Increment it when the rules or the staged columns change: every batch is then cleaned again."""
_MAX_REASONS = 20


def _input_version(asset: str, content_hash: str, settings: PlatformSettings) -> str:
    """Return the version of this content together with the texts that mean "missing"."""
    return input_version(asset, CODE_VERSION, content_hash, *sorted(settings.missing_texts))


def _engine(spark: Spark, rows: int | None) -> str:
    """Name the engine that cleans a batch of `rows`, and why it is not the server."""
    if (remote := spark.remote_for(rows)) is not None:
        return f"Spark Connect at {remote}"
    if spark.remote is None:
        return "Sail in this process"
    return f"Sail in this process: fewer than {spark.min_rows:,} rows (PLATFORM_SPARK_MIN_ROWS)"


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
        rows = count_rows(raw, batch.raw_hash, labels)
        with spark.session(rows) as session:
            fitted = fit_statistics(
                session, raw, batch.raw_hash, target, labels, missing_texts=settings.missing_texts
            )
        return {
            "dagster/row_count": len(fitted),
            "batch_id": batch.batch_id,
            "engine": _engine(spark, rows),
            **{f"median/{field.field}": field.median for field in fitted},
        }

    version = _input_version("statistics", batch.content_hash, settings)
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
        rows = count_rows(raw, batch.raw_hash, labels)
        with spark.session(rows) as session:
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
            "engine": _engine(spark, rows),
            "accepted": cleaned.accepted,
            "rejected": cleaned.rejected,
            "reasons": cleaned.reasons,
            SOURCE_VERSION: _input_version("source", batch.raw_hash, settings),
            **batch.origin,
        }

    version = _input_version("cleaned", batch.content_hash, settings)
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
        rows = quarantine_batch(table, cleaned.batch_id, target, version=cleaned.readable_version)
        return {"dagster/row_count": rows, "batch_id": cleaned.batch_id}

    version = input_version("quarantine", CODE_VERSION, cleaned.input_version)
    return materialize_if_changed(context, target, version, build)


@dg.asset_check(
    asset=QUARANTINE,
    additional_deps=[CLEANED],
    name=FEW_ROWS_REJECTED,
    blocking=True,
    pool=CLEANING_POOL,
    automation_condition=with_asset(QUARANTINE),
    description="At most PLATFORM_REJECTED_ROWS_WARN of the rows are rejected; above "
    "PLATFORM_REJECTED_ROWS_BLOCK, without duplicates, the batch stops.",
)
def few_rows_rejected(
    config: Acceptance,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[PlatformSettings],
    warehouse: dg.ResourceParam[Warehouse],
) -> dg.AssetCheckResult:
    """Count the rows of the cleaned batch by verdict and reason."""
    cleaned = cleaned_batch(lake)
    rows = rejected_rows(lake, cleaned.version)
    warn_above, block_above = settings.rejected_rows_warn, settings.rejected_rows_block
    level = rejection_level(rows, settings)
    share, limit, accepted = rows.share, warn_above, None
    if level == "error":
        share, limit = rows.lost_share, block_above
        earlier = read_acceptances(warehouse.url, cleaned.source_version)
        accepted = (earlier | config.reasons).get(FEW_ROWS_REJECTED)
    text = f"{rows} ({percent(share)}, allowed {percent(limit)})"
    if accepted is not None:
        text += f", accepted by {accepted}"
    blocks = level == "error" and accepted is None
    severity = dg.AssetCheckSeverity
    return dg.AssetCheckResult(
        passed=level == "passed",
        severity=severity.ERROR if blocks else severity.WARN,
        description=text,
        metadata={
            "accepted": rows.accepted,
            "rejected": rows.rejected,
            "duplicates": rows.duplicates,
            "share": rows.share,
            "share_allowed": warn_above,
            "share_without_duplicates": rows.lost_share,
            "share_blocked": block_above,
            "reasons": counts_markdown(rows.reasons, "reason", "rows", _MAX_REASONS),
        },
    )
