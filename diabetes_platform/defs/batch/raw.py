"""`raw/patients`: every source of patients, as received, in an append-only Delta table."""

import dagster as dg
from pydantic import Field

from diabetes_platform.contract.tables import RAW_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.raw import ingest
from diabetes_platform.orchestration.describe import (
    CLEANING_POOL,
    RAW,
    asset_options,
    table_metadata,
)
from diabetes_platform.orchestration.retries import non_retryable_errors, retried
from diabetes_platform.settings import PlatformSettings


class SourceConfig(dg.Config):
    """Run config: the file or URL to read."""

    source: str | None = Field(
        default=None,
        description="Path or URL of a CSV or Parquet file; the default is PLATFORM_SOURCE.",
    )


@dg.asset(
    **asset_options(RAW, {"python", "deltalake"}, CLEANING_POOL),
    description="Every batch as received: text values, content hash, source and time. Append-only.",
    metadata=table_metadata(RAW_PATIENTS),
)
@retried
def raw_patients(
    context: dg.AssetExecutionContext,
    config: SourceConfig,
    settings: dg.ResourceParam[PlatformSettings],
    lake: dg.ResourceParam[Lake],
) -> dg.MaterializeResult:
    """Append the rows of the source, unless the table already has this content."""
    with non_retryable_errors():
        batch = ingest(lake, config.source or settings.source)
    context.log.info(
        "Batch %s: %s rows, %s",
        batch.batch_id,
        batch.rows,
        "added" if batch.added else "already in the table",
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(batch.content_hash),
        metadata={
            "dagster/row_count": batch.rows,
            "dagster/uri": lake.table(RAW_PATIENTS).path,
            "batch_id": batch.batch_id,
            "content_hash": batch.content_hash,
            "source": batch.source,
            "delta_version": batch.delta_version,
            "added": batch.added,
        },
    )
