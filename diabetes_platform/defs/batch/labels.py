"""`labels/patients`: confirmed outcomes that came by the stream, for the next batch."""

import dagster as dg

from diabetes_platform.contract.tables import LABELLED_PATIENTS, STREAM_PATIENTS
from diabetes_platform.lake.delta import DeltaPath, Lake
from diabetes_platform.lake.labels import update_labels
from diabetes_platform.orchestration.automation import LEARN_AGAIN
from diabetes_platform.orchestration.describe import (
    CLEANING_POOL,
    LABELS,
    STREAM,
    asset_options,
    table_metadata,
)
from diabetes_platform.orchestration.memory import (
    INPUT_VERSION,
    again,
    input_version,
    remember,
    unchanged,
)
from diabetes_platform.orchestration.refusals import refusals
from diabetes_platform.orchestration.retries import retried

CODE_VERSION = "1"


@dg.asset(
    **asset_options(LABELS, {"python", "deltalake"}, CLEANING_POOL, CODE_VERSION),
    automation_condition=LEARN_AGAIN,
    deps=[STREAM],
    description="Patients of the stream with a confirmed outcome, the newest image of each. The "
    "same labels add no version; without a stream there are none. A prediction is never one.",
    metadata=table_metadata(LABELLED_PATIENTS, {STREAM: STREAM_PATIENTS}),
)
@retried
def labelled_patients(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult:
    """Keep what the stream says now, unless the stream has not changed."""
    target = lake.table(LABELLED_PATIENTS)
    version = input_version("labels", CODE_VERSION, *_state(lake.table(STREAM_PATIENTS)))
    before = remember(context, LABELS)
    if unchanged(before, target, version):
        return again(context, before, str(before.recall("content_hash")))
    with refusals():
        kept = update_labels(lake)
    context.log.info("%s labels, %s", kept.rows, "added" if kept.added else "known")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(kept.content_hash),
        metadata={
            "dagster/row_count": kept.rows,
            "dagster/uri": target.path,
            "content_hash": kept.content_hash,
            "delta_version": kept.version,
            "stream_version": kept.stream_version,
            "added": kept.added,
            INPUT_VERSION: version,
            "processed": True,
        },
    )


def _state(stream: DeltaPath) -> tuple[str, ...]:
    """Return what tells a state of the table from every other; nothing where there is no table."""
    table = stream.find()
    if table is None:
        return ()
    return str(table.metadata().id), str(table.version())
