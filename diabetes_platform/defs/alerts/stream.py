"""The sensors that alert on unhealthy services of the stream, and on records that it rejects."""

import time
from collections.abc import Sequence

import dagster as dg

from diabetes_platform.clients.alert_channels import Alert
from diabetes_platform.contract.topics import REJECTED_TOPIC
from diabetes_platform.defs.alerts.incident_alerts import (
    POLL_SECONDS,
    State,
    incident_alert,
    issue_summary,
    track_incidents,
)
from diabetes_platform.defs.stream.assets import NO_STREAM
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.dead_letters import (
    REJECTION_POLICY,
    poll_dead_letters,
    rejection_issues,
)
from diabetes_platform.streaming.incidents import (
    OUTAGE_POLICY,
    HealthIssue,
    Incident,
    IncidentCursor,
)


@dg.sensor(
    description="Sends an alert if the supervisor, the connector, the stream's job, the "
    "predictor's partitions or lag or the replication slot is unhealthy for a minute, and another "
    "one when it has recovered.",
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
    cursor = IncidentCursor.from_json(context.cursor)
    track_incidents(context, settings, cursor, issues, OUTAGE_POLICY, now_ms=now_ms)
    return dg.SkipReason(issue_summary(issues) or "all services of the stream are healthy")


def poll_health(settings: PlatformSettings) -> list[HealthIssue]:
    """Return the issues of those services of the stream whose addresses are set."""
    from diabetes_platform.streaming.health import (
        assignment_issues,
        connector_issues,
        job_issues,
        lag_issues,
        supervisor_issues,
    )

    issues: list[HealthIssue] = []
    if settings.supervisor_socket is not None:
        issues += supervisor_issues(settings.supervisor_socket)
    if settings.connect_url is not None:
        issues += connector_issues(settings.connect_url)
    if settings.flink_url is not None:
        issues += job_issues(settings.flink_url)
    if settings.kafka_servers is not None:
        issues += lag_issues(settings.kafka_servers)
        issues += assignment_issues(settings.kafka_servers)
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


@dg.sensor(
    description="Sends an alert when the stream starts to reject records for a reason, and another "
    "one after five minutes without further rejections.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=POLL_SECONDS,
)
def rejection_alerts(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[PlatformSettings]
) -> dg.SkipReason:
    """Poll the dead letters and alert on incidents that opened or were resolved.

    It reads only the headers of the dead-letter topic and commits no offsets.
    """
    if settings.kafka_servers is None:
        return dg.SkipReason(NO_STREAM)
    now_ms = time.time_ns() // 1_000_000
    cursor = IncidentCursor.from_json(context.cursor)
    poll = poll_dead_letters(settings.kafka_servers, cursor.offsets, now_ms)
    incidents = track_incidents(
        context,
        settings,
        cursor,
        rejection_issues(poll.letters),
        REJECTION_POLICY,
        now_ms=now_ms,
        offsets=poll.offsets,
        describe=rejection_alert,
    )
    return dg.SkipReason(f"{len(poll.letters)} new dead letters, {len(incidents)} open incidents")


def rejection_alert(state: State, incidents: Sequence[Incident], dagster_url: str) -> list[Alert]:
    """Return one alert for the incidents that changed in a poll: counts by reason, no values."""
    if not incidents:
        return []
    reasons = {incident.subject: incident.count for incident in incidents}
    counts = ", ".join(f"{reason} ({count} records)" for reason, count in reasons.items())
    if state == "resolved":
        text = f"resolved: the stream no longer rejects records for {counts}"
    else:
        text = f"the stream rejects records: {counts}; topic {REJECTED_TOPIC} has them"
    positions = ", ".join(f"{incident.subject} at {incident.problem}" for incident in incidents)
    return [
        incident_alert(state, positions, text, dagster_url, topic=REJECTED_TOPIC, reasons=reasons)
    ]
