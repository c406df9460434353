"""The sensor that alerts if a service of the stream stays unhealthy."""

import time

import dagster as dg

from diabetes_platform.defs.alerts.incident_alerts import (
    POLL_SECONDS,
    issue_summary,
    track_incidents,
)
from diabetes_platform.defs.stream.assets import NO_STREAM
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.incidents import OUTAGE_POLICY, HealthIssue


@dg.sensor(
    name="stream_health",
    description="Sends an alert if the connector, the stream's job, the predictor's lag or the "
    "replication slot is unhealthy for a minute, and another one when it has recovered.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=POLL_SECONDS,
)
def stream_health(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[PlatformSettings]
) -> dg.SkipReason:
    """Poll the services and alert on incidents that opened or were resolved."""
    if settings.kafka_servers is None:
        return dg.SkipReason(NO_STREAM)
    issues = poll_health(settings)
    now_ms = time.time_ns() // 1_000_000
    track_incidents(context, settings, issues, OUTAGE_POLICY, now_ms=now_ms)
    return dg.SkipReason(issue_summary(issues) or "all services of the stream are healthy")


def poll_health(settings: PlatformSettings) -> list[HealthIssue]:
    """Return the issues of those services of the stream whose addresses are set."""
    from diabetes_platform.streaming.health import connector_issues, job_issues, lag_issues

    issues: list[HealthIssue] = []
    if settings.connect_url is not None:
        issues += connector_issues(settings.connect_url)
    if settings.flink_url is not None:
        issues += job_issues(settings.flink_url)
    if settings.kafka_servers is not None:
        issues += lag_issues(settings.kafka_servers)
    if settings.warehouse_url is not None:
        issues += _slot_issues(settings.warehouse_url.get_secret_value())
    return issues


def _slot_issues(warehouse_url: str) -> list[HealthIssue]:
    import psycopg

    from diabetes_platform.warehouse.replication import SLOT, read_slot, slot_warning

    try:
        with psycopg.connect(warehouse_url, connect_timeout=5) as connection:
            problem = slot_warning(read_slot(connection), connection.info.dbname)
    except psycopg.OperationalError:
        return [HealthIssue("PostgreSQL", "does not answer")]
    if problem is None:
        return []
    subject = f"replication slot {SLOT}"
    return [HealthIssue(subject, problem.removeprefix(subject).strip())]
