"""The jobs and their schedules."""

import dagster as dg

batch = dg.define_asset_job(
    "batch",
    selection=dg.AssetSelection.all(),
    description="Raw source to released model; what has not changed is not processed again.",
    executor_def=dg.in_process_executor,
    # dagster.yaml lets one queued run with this tag go at a time.
    tags={"platform/graph": "batch"},
)

daily_batch = dg.ScheduleDefinition(
    name="daily_batch",
    job=batch,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Reads PLATFORM_SOURCE every night.",
)
