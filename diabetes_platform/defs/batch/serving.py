"""`serving/patients`: the validated batch, promoted in one transaction."""

from typing import Any

import dagster as dg
import psycopg

from diabetes_platform.contract.tables import SERVING_PATIENTS, STAGING_PATIENTS
from diabetes_platform.orchestration.automation import FOLLOW, together_with
from diabetes_platform.orchestration.describe import (
    SERVING,
    STAGING,
    STAGING_POOL,
    asset_options,
    table_metadata,
)
from diabetes_platform.orchestration.memory import DATA_VERSION_TAG, remember
from diabetes_platform.orchestration.refusals import refusals
from diabetes_platform.orchestration.resources import Warehouse
from diabetes_platform.orchestration.retries import retried
from diabetes_platform.warehouse.promotion import Promotion, promote, serving_state
from diabetes_platform.warehouse.staging import StagingError, newest


@dg.asset(
    **asset_options(SERVING, {"postgres"}, STAGING_POOL),
    automation_condition=FOLLOW,
    deps=[STAGING],
    description="The promoted version of staging.patients. Readers see one whole version, always.",
    metadata=table_metadata(SERVING_PATIENTS, {STAGING: STAGING_PATIENTS}),
)
@retried
def serving_patients(
    context: dg.AssetExecutionContext, warehouse: dg.ResourceParam[Warehouse]
) -> dg.MaterializeResult:
    """Promote the staged batch; one that was promoted before changes nothing."""
    with refusals(StagingError):
        batch = newest(warehouse.url)
        staged = remember(context, STAGING).recall("load")
        if batch is None or batch.version != staged:
            raise StagingError(f"staging.patients: given another load, allowed {staged}")
        promotion = promote(warehouse.url, batch)
    if not promotion.changed:
        context.log.info("Version %s was promoted before: nothing to do", promotion.version)
    with psycopg.connect(warehouse.url) as connection:
        state = serving_state(connection)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(_data_version(state)),
        metadata=_metadata(promotion, state),
    )


def rollback_event(promotion: Promotion) -> dg.AssetMaterialization:
    """Return what Dagster is told of a rollback, which no run makes: as a run would tell it."""
    return dg.AssetMaterialization(
        SERVING,
        description=promotion.verdict,
        metadata=_metadata(promotion, promotion),
        tags={DATA_VERSION_TAG: _data_version(promotion)},
    )


def _data_version(state: Promotion) -> str:
    return f"{state.batch_id}-{state.version}"


def _metadata(promotion: Promotion, state: Promotion) -> dict[str, Any]:
    """Render what was done, and what is served now: they differ after a rollback."""
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
    automation_condition=together_with(SERVING),
    description="serving.patients has the batch and the rows that the audit names, and no other.",
)
def serves_whole_version(warehouse: dg.ResourceParam[Warehouse]) -> dg.AssetCheckResult:
    """Count what a reader sees and compare it with the audit, in one snapshot."""
    with psycopg.connect(warehouse.url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        state = serving_state(connection)
        seen = connection.execute(
            "SELECT batch_id, count(*) FROM serving.patients GROUP BY batch_id"
        ).fetchall()
    return dg.AssetCheckResult(
        passed=seen == [(state.batch_id, state.rows)],
        metadata={
            "rows": sum(rows for _, rows in seen),
            "batches": ", ".join(batch_id for batch_id, _ in seen),
            "promoted_rows": state.rows,
            "promoted_batch": state.batch_id,
        },
    )
