"""`features/training_set`: the labelled rows of the promoted version."""

from collections.abc import Iterator

import dagster as dg

from diabetes_platform.contract.tables import BATCH_ID, RECORD_ID, SERVING_PATIENTS, TRAINING_SET
from diabetes_platform.lake.arrow import content_hash_of
from diabetes_platform.lake.delta import Lake
from diabetes_platform.modelling.training_set import (
    TrainingSetError,
    too_few_outcomes,
    training_set_from_arrow,
    validate_training_set,
)
from diabetes_platform.modelling.training_set_snapshot import ROWS_HASH, rows_by_source
from diabetes_platform.orchestration.automation import FOLLOW
from diabetes_platform.orchestration.batch_state import batch_origin
from diabetes_platform.orchestration.describe import (
    SERVING,
    SKIPPED,
    TRAINING_POOL,
    TRAINING_ROWS,
    asset_options,
    table_metadata,
)
from diabetes_platform.orchestration.resources import Warehouse
from diabetes_platform.orchestration.retries import non_retryable_errors, retried


@dg.asset(
    **asset_options(TRAINING_ROWS, {"postgres", "deltalake"}, TRAINING_POOL),
    automation_condition=FOLLOW,
    deps=[SERVING],
    description="Labelled rows of the promoted version; missing stays missing. Skipped, with the "
    "assets downstream, if there are too few outcomes to train on: the released model stays.",
    output_required=False,
    dagster_type=dg.Nothing,
    metadata=table_metadata(TRAINING_SET, {SERVING: SERVING_PATIENTS}),
)
@retried
def training_set(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    warehouse: dg.ResourceParam[Warehouse],
) -> Iterator[dg.MaterializeResult]:
    """Read the promoted version; unchanged rows add no version of the table."""
    # Dagster skips an asset, and what depends on it, if its generator yields no result.
    results = [_update(context, lake, warehouse)]
    return (result for result in results if result is not None)


def _update(
    context: dg.AssetExecutionContext, lake: Lake, warehouse: Warehouse
) -> dg.MaterializeResult | None:
    # This import loads pandas.
    from diabetes_platform.warehouse.training_rows import read_training_rows

    with non_retryable_errors(TrainingSetError):
        table = read_training_rows(warehouse.url)
        if (reason := too_few_outcomes(table)) is not None:
            context.log.warning("Not trained: %s", reason)
            # `stale_assets` reads it: what is not trained does not become stale.
            context.log_event(dg.AssetObservation(TRAINING_ROWS, metadata={SKIPPED: reason}))
            return None
        validate_training_set(table)
        rows = training_set_from_arrow(table)
    batch_id = str(table[BATCH_ID.name][0])
    origin = batch_origin(lake, batch_id)
    version, added = lake.snapshot(
        TRAINING_SET,
        table,
        content_hash_of(table, RECORD_ID.name),
        {ROWS_HASH: rows.content_hash, **origin},
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(rows.content_hash),
        metadata={
            "dagster/row_count": len(rows),
            "dagster/uri": lake.table(TRAINING_SET).path,
            "delta_version": version,
            "content_hash": rows.content_hash,
            "prevalence": rows.prevalence,
            "batch_id": batch_id,
            "sources": dg.MetadataValue.json(rows_by_source(table)),
            **origin,
            "added": added,
        },
    )
