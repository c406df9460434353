"""The hourly job of the checks, and its schedule."""

import dagster as dg

from diabetes_platform.defs.monitoring import (
    drift,
    live_calibration,
    skew,
    stream_quality,
    waiting_labels,
)
from diabetes_platform.orchestration.describe import GRAPH_TAG

MONITORED = dg.AssetSelection.checks(
    stream_quality.every_message_accounted_for,
    stream_quality.every_patient_has_an_answer,
    stream_quality.lake_has_every_patient,
    stream_quality.few_records_rejected,
    stream_quality.few_events_late,
    drift.drift_checks,
    skew.same_features,
    skew.same_predictions,
    live_calibration.risks_come_true,
    waiting_labels.few_labels_wait,
)
"""The checks of the stream and of the model on live patients; none of them stops a batch."""

monitoring = dg.define_asset_job(
    "monitoring",
    selection=MONITORED,
    description="Checks the stream: message accounting, patients without an answer or "
    "missing in the lake, rejected records, late events, drift, skew, live "
    "calibration, outcomes that no batch has read.",
    executor_def=dg.in_process_executor,
    tags={GRAPH_TAG: "monitoring"},
)


def monitoring_schedule(*, stream_runs: bool) -> dg.ScheduleDefinition:
    """Return the hourly schedule of `monitoring`; without a stream it is stopped by default."""
    status = dg.DefaultScheduleStatus
    return dg.ScheduleDefinition(
        name="monitoring_schedule",
        job=monitoring,
        cron_schedule="30 * * * *",
        execution_timezone="UTC",
        default_status=status.RUNNING if stream_runs else status.STOPPED,
        description="Hourly; stopped by default without a stream.",
    )
