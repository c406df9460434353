"""`serving/patients`: the validated batch, promoted in one transaction."""

from typing import Any

import dagster as dg
import psycopg

from diabetes_platform.contract.tables import SERVING_PATIENTS, STAGING_PATIENTS
from diabetes_platform.orchestration.automation import FOLLOW, with_asset
from diabetes_platform.orchestration.describe import (
    DATA_VERSION_TAG,
    SERVING,
    STAGING,
    STAGING_POOL,
    asset_options,
    table_metadata,
)
from diabetes_platform.orchestration.resources import Warehouse
from diabetes_platform.orchestration.retries import non_retryable_errors, retried
from diabetes_platform.warehouse.promotion import Promotion, promote, serving_state
from diabetes_platform.warehouse.staging import StagingError, newest


@dg.asset(
    **asset_options(SERVING, {"postgres"}, STAGING_POOL),
    automation_condition=FOLLOW,
    deps=[STAGING],
    description="The promoted version of staging.patients. Readers always see one whole version.",
    metadata=table_metadata(SERVING_PATIENTS, {STAGING: STAGING_PATIENTS}),
)
@retried
def serving_patients(
    context: dg.AssetExecutionContext, warehouse: dg.ResourceParam[Warehouse]
) -> dg.MaterializeResult:
    """Promote the staged batch, unless it is already promoted."""
    with non_retryable_errors(StagingError):
        batch = newest(warehouse.url)
        if batch is None:
            raise StagingError("staging.patients: no batch yet: materialize it first")
        promotion = promote(warehouse.url, batch)
    if not promotion.changed:
        context.log.info("Version %s is already promoted: nothing to do", promotion.version)
    with psycopg.connect(warehouse.url) as connection:
        state = serving_state(connection)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{state.batch_id}-{state.version}"),
        metadata=_metadata(promotion, state),
    )


def rollback_event(promotion: Promotion) -> dg.AssetMaterialization:
    """Return the event of a rollback outside a run, with the metadata of a promotion."""
    return dg.AssetMaterialization(
        SERVING,
        description=promotion.verdict,
        metadata=_metadata(promotion, promotion),
        tags={DATA_VERSION_TAG: f"{promotion.batch_id}-{promotion.version}"},
    )


def _metadata(promotion: Promotion, state: Promotion) -> dict[str, Any]:
    """Return the promotion and the state served now, which differ after a rollback."""
    return {
        "dagster/row_count": state.rows,
        "batch_id": state.batch_id,
        "version": state.version,
        "previous_version": promotion.previous_version,
        "validation_run": promotion.validation_run,
        "verdict": promotion.verdict,
        "delta_version": state.delta_version,
        "changed": promotion.changed,
    }


@dg.asset_check(
    asset=SERVING,
    name="serves_whole_version",
    blocking=True,
    automation_condition=with_asset(SERVING),
    description="serving.patients has exactly the batch and the rows that the audit names.",
)
def serves_whole_version(warehouse: dg.ResourceParam[Warehouse]) -> dg.AssetCheckResult:
    """Compare the rows that a reader sees with the audit, in one snapshot."""
    with psycopg.connect(warehouse.url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        state = serving_state(connection)
        batches = connection.execute(
            "SELECT batch_id, count(*) FROM serving.patients GROUP BY batch_id"
        ).fetchall()
    return dg.AssetCheckResult(
        passed=batches == [(state.batch_id, state.rows)],
        metadata={
            "rows": sum(rows for _, rows in batches),
            "batches": ", ".join(batch_id for batch_id, _ in batches),
            "promoted_rows": state.rows,
            "promoted_batch": state.batch_id,
        },
    )
