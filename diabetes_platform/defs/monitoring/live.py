"""`monitoring/live`: the asset of the checks of stream and model. No run materializes it."""

import dagster as dg

from diabetes_platform.orchestration.describe import (
    CHAMPION,
    GROUPS,
    LABELS,
    MONITORING,
    OWNER,
    REJECTED,
    STREAM,
    TRAINING_ROWS,
    WINDOWS,
)

live = dg.AssetSpec(
    MONITORING,
    deps=[STREAM, REJECTED, WINDOWS, LABELS, TRAINING_ROWS, CHAMPION],
    description="The stream and the released model on live patients: the asset has only checks, "
    "which the job `monitoring` evaluates.",
    group_name=GROUPS[MONITORING.path[0]],
    owners=[OWNER],
)
