"""The job that trains without a new batch."""

import dagster as dg

from diabetes_platform.defs.monitoring.jobs import MONITORED
from diabetes_platform.orchestration.describe import CANDIDATE, CHAMPION, SHADOW, TRAINING_ROWS

retrain = dg.define_asset_job(
    "retrain",
    selection=dg.AssetSelection.assets(TRAINING_ROWS, CANDIDATE, SHADOW, CHAMPION) - MONITORED,
    description="From the promoted rows to the released model, without a new batch.",
    executor_def=dg.in_process_executor,
    tags={"platform/graph": "batch"},
)
