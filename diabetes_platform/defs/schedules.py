"""The jobs and their schedules."""

import dagster as dg

from diabetes_platform.defs.balance import every_message_accounted_for
from diabetes_platform.defs.describe import CANDIDATE, CHAMPION, SHADOW, TRAINING_ROWS
from diabetes_platform.defs.drift import drift_checks
from diabetes_platform.defs.feeds import FEEDS
from diabetes_platform.defs.live_calibration import risks_come_true
from diabetes_platform.defs.skew import same_features, same_predictions
from diabetes_platform.defs.stream_quality import few_events_late, few_records_rejected
from diabetes_platform.defs.waiting_labels import few_labels_wait

MONITORED = (
    every_message_accounted_for,
    few_records_rejected,
    few_events_late,
    drift_checks,
    same_features,
    same_predictions,
    risks_come_true,
    few_labels_wait,
)
"""The checks of the stream and of what it says of the model: no batch is stopped by them."""

batch = dg.define_asset_job(
    "batch",
    selection=dg.AssetSelection.all()
    - dg.AssetSelection.assets(*(feed.key for feed in FEEDS))
    - dg.AssetSelection.checks(*MONITORED),
    description="Raw source to released model; what has not changed is not processed again.",
    executor_def=dg.in_process_executor,
    tags={"platform/graph": "batch"},
)

retrain = dg.define_asset_job(
    "retrain",
    selection=dg.AssetSelection.assets(TRAINING_ROWS, CANDIDATE, SHADOW, CHAMPION)
    - dg.AssetSelection.checks(*MONITORED),
    description="From the promoted rows to the released model, without a new batch.",
    executor_def=dg.in_process_executor,
    tags={"platform/graph": "batch"},
)

stream_jobs = [
    dg.define_asset_job(
        feed.job,
        selection=dg.AssetSelection.assets(feed.key).without_checks(),
        description=f"{feed.topic} into the lake; the sensor `{feed.sensor}` asks.",
        executor_def=dg.in_process_executor,
        # The sensor itself asks again: it knows what the table has by then.
        tags={"platform/graph": "stream", "dagster/max_retries": "0"},
    )
    for feed in FEEDS
]

monitoring = dg.define_asset_job(
    "monitoring",
    selection=dg.AssetSelection.checks(*MONITORED),
    description="What the stream has brought of late: balance, shares of rejected records and late "
    "events, drift, skew, live calibration, labels that wait.",
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
