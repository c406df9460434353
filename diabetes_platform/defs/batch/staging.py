"""`staging/patients`: the accepted rows of the batch in PostgreSQL."""

from typing import TYPE_CHECKING

import dagster as dg

from diabetes_platform.cleaning.reconciliation import ACCEPTED
from diabetes_platform.contract.tables import CLEANED_PATIENTS, STAGING_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.automation import FOLLOW
from diabetes_platform.orchestration.describe import (
    CLEANED,
    QUARANTINE,
    STAGING,
    STAGING_POOL,
    asset_options,
    table_metadata,
)
from diabetes_platform.orchestration.memory import INPUT_VERSION, input_version, remember
from diabetes_platform.orchestration.refusals import refusals
from diabetes_platform.orchestration.resources import Warehouse
from diabetes_platform.orchestration.retries import retried
from diabetes_platform.warehouse.staging import StagedBatch, newest, stage

if TYPE_CHECKING:
    import pyarrow as pa

CODE_VERSION = "1"


@dg.asset(
    **asset_options(STAGING, {"postgres"}, STAGING_POOL, CODE_VERSION),
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
    """Load the accepted rows, unless this very batch is what staging holds."""
    cleaned = remember(context, CLEANED)
    batch_id = str(cleaned.recall("batch_id"))
    delta_version = int(cleaned.recall("delta_version"))
    version = input_version("staging", CODE_VERSION, cleaned.recall(INPUT_VERSION))
    staged = newest(warehouse.url)
    before = remember(context, STAGING)
    unchanged = before.was_made_from(version) and _holds(staged, batch_id, delta_version)
    if staged is None or not unchanged:
        with refusals():
            rows = _accepted(lake, delta_version)
            staged = stage(
                warehouse.url,
                rows,
                batch_id=batch_id,
                delta_version=delta_version,
                expected_rows=int(cleaned.recall("accepted")),
            )
    else:
        context.log.info("Batch %s is in staging already: not loaded again", batch_id)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            "dagster/row_count": staged.rows,
            "batch_id": staged.batch_id,
            "load": staged.version,
            "delta_version": staged.delta_version,
            INPUT_VERSION: version,
            "processed": not unchanged,
        },
    )


def _accepted(lake: Lake, delta_version: int) -> "pa.RecordBatchReader":
    """Stream the very version that the event log speaks of, whoever has written since."""
    columns = STAGING_PATIENTS.column_names
    return lake.stream(CLEANED_PATIENTS, columns, {"verdict": ACCEPTED}, delta_version)


def _holds(staged: StagedBatch | None, batch_id: str, delta_version: int) -> bool:
    """Whether staging holds this batch, from this version of the cleaned table."""
    return staged is not None and (staged.batch_id, staged.delta_version) == (
        batch_id,
        delta_version,
    )
