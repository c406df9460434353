"""The jobs and their schedules."""

import dagster as dg

batch = dg.define_asset_job(
    "batch",
    selection=dg.AssetSelection.all(),
    description="Raw source to released model; what has not changed is not processed again.",
    executor_def=dg.in_process_executor,
    tags={"platform/graph": "batch"},
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
