"""`staging/patients`: the accepted rows of the batch in PostgreSQL."""

from typing import TYPE_CHECKING

import dagster as dg

from diabetes_platform.cleaning.reconciliation import ACCEPTED
from diabetes_platform.contract.tables import CLEANED_PATIENTS, STAGING_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.automation import FOLLOW
from diabetes_platform.orchestration.batch_state import (
    CleanedBatch,
    cleaned_batch,
    input_version,
)
from diabetes_platform.orchestration.describe import (
    CLEANED,
    QUARANTINE,
    STAGING,
    STAGING_POOL,
    asset_options,
    table_metadata,
)
from diabetes_platform.orchestration.resources import Warehouse
from diabetes_platform.orchestration.retries import non_retryable_errors, retried
from diabetes_platform.warehouse.staging import StagedBatch, newest, stage

if TYPE_CHECKING:
    import pyarrow as pa


@dg.asset(
    **asset_options(STAGING, {"postgres"}, STAGING_POOL),
    automation_condition=FOLLOW,
    deps=[CLEANED, QUARANTINE],
    description="The accepted rows of the batch in PostgreSQL, streamed as Arrow into COPY.",
    metadata=table_metadata(STAGING_PATIENTS, {CLEANED: CLEANED_PATIENTS}),
)
@retried
def staging_patients(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    warehouse: dg.ResourceParam[Warehouse],
) -> dg.MaterializeResult:
    """Load the accepted rows of the cleaned batch, unless staging already holds them."""
    cleaned = cleaned_batch(lake)
    staged = newest(warehouse.url)
    unchanged = staged is not None and _is_load_of(staged, cleaned)
    if staged is None or not unchanged:
        with non_retryable_errors():
            staged = stage(
                warehouse.url,
                _accepted_rows(lake, cleaned.version),
                batch_id=cleaned.batch_id,
                delta_version=cleaned.version,
                expected_rows=cleaned.accepted,
            )
    else:
        context.log.info("Batch %s is in staging: not loaded again", cleaned.batch_id)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(input_version("staging", cleaned.input_version)),
        metadata={
            "dagster/row_count": staged.rows,
            "batch_id": staged.batch_id,
            "load": staged.version,
            "delta_version": staged.delta_version,
            "processed": not unchanged,
        },
    )


def _accepted_rows(lake: Lake, delta_version: int) -> "pa.RecordBatchReader":
    columns = STAGING_PATIENTS.column_names
    return lake.stream(CLEANED_PATIENTS, columns, {"verdict": ACCEPTED}, delta_version)


def _is_load_of(staged: StagedBatch, cleaned: CleanedBatch) -> bool:
    """Whether staging was loaded from this version of the cleaned table.

    The times are compared because a lake that was deleted counts its versions from 0 again.
    """
    same = (staged.batch_id, staged.delta_version) == (cleaned.batch_id, cleaned.version)
    return same and staged.staged_at >= cleaned.commit.written_at
