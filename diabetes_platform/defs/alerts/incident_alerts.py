"""Alerts for incidents, and the code that all incident sensors share."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from logging import ERROR, INFO
from typing import Any, Literal

import dagster as dg

from diabetes_platform.clients.alert_channels import Alert, check_channels
from diabetes_platform.defs.alerts.delivery import send_alerts
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.incidents import (
    HealthIssue,
    Incident,
    IncidentCursor,
    IncidentPolicy,
    update_incidents,
)

POLL_SECONDS = 15
State = Literal["raised", "resolved"]
"""Values of the member `state` in the alert log."""


def incident_alert(
    state: State, incident: str, text: str, dagster_url: str, **facts: object
) -> Alert:
    """Return the alert for incidents that opened (`raised`) or were resolved.

    `incident` depends only on the incidents: this is how the log recognises an alert that was
    already sent.
    """
    url = f"{dagster_url}/automation"
    members = {"state": state, "incident": f"{state}: {incident}", **facts, "url": url}
    severity: Literal["failure", "success"] = "failure" if state == "raised" else "success"
    return Alert(f"{text} ({url})", {**members, "time": timestamp()}, severity)


def health_alerts(state: State, incidents: Iterable[Incident], dagster_url: str) -> list[Alert]:
    """Return an alert for each incident; `trouble` describes it as it opened."""
    alerts = []
    for incident in incidents:
        text = f"{incident.subject} {incident.problem}"
        if state == "resolved":
            text = f"resolved: {incident.subject} is healthy again"
        identity = f"{incident.subject} since {incident.since_ms}"
        facts = {"subject": incident.subject, "trouble": incident.problem}
        alerts.append(incident_alert(state, identity, text, dagster_url, **facts))
    return alerts


def track_incidents(
    context: dg.SensorEvaluationContext,
    settings: PlatformSettings,
    cursor: IncidentCursor,
    issues: Iterable[HealthIssue],
    policy: IncidentPolicy,
    *,
    now_ms: int,
    offsets: Mapping[int, int] | None = None,
    state: Mapping[str, Any] | None = None,
    describe: Callable[[State, Sequence[Incident], str], list[Alert]] = health_alerts,
) -> tuple[Incident, ...]:
    """Update the incidents of `cursor`, send alerts, and return the incidents.

    The new cursor is stored last: if an alert fails, AlertError fails the tick, and the next tick
    sends the alert again to the channels that did not accept it.
    """
    check_channels(settings.alert_channels)
    incidents, changes = update_incidents(cursor.incidents, issues, now_ms, policy)
    alerts = describe("raised", changes.opened, settings.dagster)
    alerts += describe("resolved", changes.resolved, settings.dagster)
    for alert in alerts:
        context.log.log(ERROR if alert.severity == "failure" else INFO, alert.text)
    send_alerts(alerts, settings)
    context.update_cursor(IncidentCursor(incidents, offsets or {}, state or {}).to_json())
    return incidents


def issue_summary(issues: Iterable[HealthIssue]) -> str:
    """Return the issues in one line; an empty string if there are none."""
    return "; ".join(f"{issue.subject} {issue.problem}" for issue in issues)


def timestamp() -> str:
    """Return the current time in ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
