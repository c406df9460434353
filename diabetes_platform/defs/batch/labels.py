"""`labels/patients`: outcomes that were confirmed through the stream, for the next batch."""

import dagster as dg

from diabetes_platform.contract.tables import LABELLED_PATIENTS, STREAM_PATIENTS
from diabetes_platform.lake.delta import DeltaPath, Lake, newest_commit
from diabetes_platform.lake.labels import stored_labels, update_labels
from diabetes_platform.orchestration.automation import RETRAIN
from diabetes_platform.orchestration.batch_state import INPUT_VERSION, input_version
from diabetes_platform.orchestration.describe import (
    CLEANING_POOL,
    LABELS,
    STREAM,
    asset_options,
    table_metadata,
)
from diabetes_platform.orchestration.retries import non_retryable_errors, retried

CODE_VERSION = "1"


@dg.asset(
    **asset_options(LABELS, {"python", "deltalake"}, CLEANING_POOL, CODE_VERSION),
    automation_condition=RETRAIN,
    deps=[STREAM],
    description="The newest image of each patient of the stream whose outcome is confirmed. "
    "Unchanged labels add no rows; without a stream there are no labels. A prediction is never a "
    "label.",
    metadata=table_metadata(LABELLED_PATIENTS, {STREAM: STREAM_PATIENTS}),
)
@retried
def labelled_patients(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult:
    """Write the newest labels of the stream; skip this if the stream has not changed."""
    target = lake.table(LABELLED_PATIENTS)
    version = input_version("labels", CODE_VERSION, *_table_state(lake.table(STREAM_PATIENTS)))
    commit = newest_commit(target)
    unchanged = commit is not None and commit.metadata.get(INPUT_VERSION) == version
    if unchanged:
        labels = stored_labels(lake)
    else:
        with non_retryable_errors():
            labels = update_labels(lake, {INPUT_VERSION: version})
    context.log.info("%s labels, %s", labels.rows, "added" if labels.added else "unchanged")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(labels.content_hash),
        metadata={
            "dagster/row_count": labels.rows,
            "dagster/uri": target.path,
            "content_hash": labels.content_hash,
            "delta_version": labels.version,
            "stream_version": labels.stream_version,
            "added": labels.added,
            INPUT_VERSION: version,
            "processed": not unchanged,
        },
    )


def _table_state(stream: DeltaPath) -> tuple[str, ...]:
    """Return the id and the version of the table; empty if it does not exist."""
    table = stream.find()
    if table is None:
        return ()
    return str(table.metadata().id), str(table.version())
