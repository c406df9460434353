"""The jobs of the batch and of training alone, and their schedule and sensor."""

import dagster as dg

from diabetes_platform.defs.monitoring.jobs import MONITORED
from diabetes_platform.defs.stream.assets import STREAM_ASSETS
from diabetes_platform.orchestration.describe import (
    CANDIDATE,
    CHAMPION,
    GRAPH_TAG,
    SHADOW,
    TRAINING_ROWS,
)

batch = dg.define_asset_job(
    "batch",
    selection=dg.AssetSelection.all()
    - dg.AssetSelection.assets(*(asset.key for asset in STREAM_ASSETS))
    - MONITORED,
    description="Raw source to released model; unchanged input is not processed again.",
    executor_def=dg.in_process_executor,
    tags={GRAPH_TAG: "batch"},
)
retrain = dg.define_asset_job(
    "retrain",
    selection=dg.AssetSelection.assets(TRAINING_ROWS, CANDIDATE, SHADOW, CHAMPION) - MONITORED,
    description="From the promoted rows to the released model, without a new batch.",
    executor_def=dg.in_process_executor,
    tags={GRAPH_TAG: "batch"},
)


def batch_schedule(cron: str) -> dg.ScheduleDefinition:
    """Return the schedule that runs the batch job at `cron`, in UTC."""
    return dg.ScheduleDefinition(
        name="batch_schedule",
        job=batch,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Reads PLATFORM_SOURCE at the times of PLATFORM_BATCH_SCHEDULE (UTC).",
    )


def retraining(*, stream_runs: bool) -> dg.AutomationConditionSensorDefinition:
    """Return the sensor of the automation conditions; without a stream it is stopped by default."""
    status = dg.DefaultSensorStatus
    return dg.AutomationConditionSensorDefinition(
        name="retraining",
        target=dg.AssetSelection.all(),
        default_status=status.RUNNING if stream_runs else status.STOPPED,
        minimum_interval_seconds=60,
        run_tags={GRAPH_TAG: "batch"},
        description="Requests a batch when enough outcomes were confirmed, patients have drifted "
        "or the training set is stale; the assets downstream follow.",
    )
