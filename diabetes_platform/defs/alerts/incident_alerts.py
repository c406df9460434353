"""Alerts for incidents, and the code that all incident sensors share."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from logging import ERROR, INFO
from typing import Literal, Protocol

import dagster as dg

from diabetes_platform.clients.alert_channels import check_channels
from diabetes_platform.defs.alerts.delivery import Alert, send_alerts
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.incidents import (
    HealthIssue,
    Incident,
    IncidentChanges,
    IncidentCursor,
    IncidentPolicy,
    update_incidents,
)

State = Literal["raised", "resolved"]
"""Values of the member `state` in the alert log."""
POLL_SECONDS = 15


class IncidentAlert(Alert, Protocol):
    """An alert for incidents that opened or were resolved."""

    @property
    def state(self) -> State:
        """Whether the incidents opened or were resolved."""


@dataclass(frozen=True, slots=True)
class HealthAlert:
    """An incident of a service or an asset; `trouble` describes it as it opened."""

    state: State
    incident: str
    subject: str
    trouble: str
    url: str
    time: str

    @property
    def identity(self) -> tuple[str, str]:
        """The member that identifies the alert in the log."""
        return "incident", self.incident

    @property
    def text(self) -> str:
        """The alert in one line."""
        if self.state == "resolved":
            return f"resolved: {self.subject} is healthy again ({self.url})"
        return f"{self.subject} {self.trouble} ({self.url})"

    @property
    def severity(self) -> Literal["failure", "success"]:
        """How channels mark the alert."""
        return severity(self.state)


def health_alerts(changes: IncidentChanges, dagster_url: str) -> list[HealthAlert]:
    """Return an alert for each incident that opened or was resolved.

    An alert's `incident` depends only on the incident: this is how the log recognises an alert that
    was already sent.
    """
    incidents: tuple[tuple[State, Sequence[Incident]], ...] = (
        ("raised", changes.opened),
        ("resolved", changes.resolved),
    )
    return [
        HealthAlert(
            state=state,
            incident=f"{state}: {incident.subject} since {incident.since_ms}",
            subject=incident.subject,
            trouble=incident.problem,
            url=automation_url(dagster_url),
            time=timestamp(),
        )
        for state, changed in incidents
        for incident in changed
    ]


def track_incidents(
    context: dg.SensorEvaluationContext,
    settings: PlatformSettings,
    issues: Iterable[HealthIssue],
    policy: IncidentPolicy,
    *,
    now_ms: int,
    offsets: Mapping[int, int] | None = None,
    describe: Callable[[IncidentChanges, str], Sequence[IncidentAlert]] = health_alerts,
) -> tuple[Incident, ...]:
    """Update the incidents in the sensor's cursor, send alerts and return the incidents.

    If an alert fails, AlertError fails the tick and the cursor does not advance. The next tick
    repeats this one, without the alerts that the log already has.
    """
    check_channels(settings.alert_channels)
    cursor = IncidentCursor.from_json(context.cursor)
    incidents, changes = update_incidents(cursor.incidents, issues, now_ms, policy)
    alerts = describe(changes, settings.dagster)
    for alert in alerts:
        context.log.log(ERROR if alert.state == "raised" else INFO, alert.text)
    send_alerts(alerts, settings)
    context.update_cursor(IncidentCursor(incidents, offsets or {}).to_json())
    return incidents


def issue_summary(issues: Iterable[HealthIssue]) -> str:
    """Return the issues in one line; an empty string if there are none."""
    return "; ".join(f"{issue.subject} {issue.problem}" for issue in issues)


def severity(state: State) -> Literal["failure", "success"]:
    """Return the severity of an incident that opened or was resolved."""
    return "failure" if state == "raised" else "success"


def automation_url(dagster_url: str) -> str:
    """Return the page of Dagster's UI that lists the sensors."""
    return f"{dagster_url}/automation"


def timestamp() -> str:
    """Return the current time in ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
