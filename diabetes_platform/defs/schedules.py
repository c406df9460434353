"""The jobs and their schedules."""

import dagster as dg

from diabetes_platform.defs.describe import STREAM
from diabetes_platform.defs.drift import drift_checks

batch = dg.define_asset_job(
    "batch",
    selection=dg.AssetSelection.all() - dg.AssetSelection.assets(STREAM),
    description="Raw source to released model; what has not changed is not processed again.",
    executor_def=dg.in_process_executor,
    tags={"platform/graph": "batch"},
)

stream = dg.define_asset_job(
    "stream",
    selection=dg.AssetSelection.assets(STREAM).without_checks(),
    description="What the stream let through, into the lake; the sensor `stream_increments` asks.",
    executor_def=dg.in_process_executor,
    # The sensor itself asks again: it knows what the table has by then.
    tags={"platform/graph": "stream", "dagster/max_retries": "0"},
)

monitoring = dg.define_asset_job(
    "monitoring",
    selection=dg.AssetSelection.checks(drift_checks),
    description="What the stream has brought of late, against what the model has learned from.",
    executor_def=dg.in_process_executor,
    tags={"platform/graph": "monitoring"},
)


def monitoring_schedule(*, stream_runs: bool) -> dg.ScheduleDefinition:
    """Return the hourly schedule of the job `monitoring`: off where there is no stream."""
    status = dg.DefaultScheduleStatus
    return dg.ScheduleDefinition(
        name="monitoring_schedule",
        job=monitoring,
        cron_schedule="30 * * * *",
        execution_timezone="UTC",
        default_status=status.RUNNING if stream_runs else status.STOPPED,
        description="Hourly, where there is a stream.",
    )


def batch_schedule(cron: str) -> dg.ScheduleDefinition:
    """Return the schedule that runs the batch job at `cron`, in UTC."""
    return dg.ScheduleDefinition(
        name="batch_schedule",
        job=batch,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Reads PLATFORM_SOURCE at the times of PLATFORM_BATCH_SCHEDULE.",
    )
