"""The sensor that alerts if the stream rejects records.

It reads only the headers of the dead-letter topic and commits no offsets. Its state is in its
cursor.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import dagster as dg

from diabetes_platform.contract.events import REJECTED_TOPIC
from diabetes_platform.defs.alerts.incident_alerts import (
    POLL_SECONDS,
    State,
    automation_url,
    severity,
    timestamp,
    track_incidents,
)
from diabetes_platform.defs.stream.assets import NO_STREAM
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.dead_letters import (
    REJECTION_POLICY,
    poll_dead_letters,
    rejection_issues,
)
from diabetes_platform.streaming.incidents import Incident, IncidentChanges, IncidentCursor


@dataclass(frozen=True, slots=True)
class RejectionAlert:
    """Incidents that opened or were resolved in one poll: record counts by reason, no values."""

    state: State
    incident: str
    topic: str
    reasons: dict[str, int]
    url: str
    time: str

    @property
    def identity(self) -> tuple[str, str]:
        """The member that identifies the alert in the log."""
        return "incident", self.incident

    @property
    def text(self) -> str:
        """The alert in one line."""
        counts = ", ".join(f"{reason} ({count} records)" for reason, count in self.reasons.items())
        if self.state == "resolved":
            return f"resolved: the stream no longer rejects records for {counts} ({self.url})"
        return f"the stream rejects records: {counts}; topic {self.topic} has them ({self.url})"

    @property
    def severity(self) -> Literal["failure", "success"]:
        """How channels mark the alert."""
        return severity(self.state)


def rejection_alert(
    state: State, incidents: Sequence[Incident], dagster_url: str
) -> RejectionAlert | None:
    """Return one alert for incidents that changed in one poll; None if there are none.

    An alert's `incident` depends only on the incidents: this is how the log recognises an alert
    that was already sent.
    """
    if not incidents:
        return None
    positions = ", ".join(f"{incident.subject} at {incident.problem}" for incident in incidents)
    return RejectionAlert(
        state=state,
        incident=f"{state}: {positions}",
        topic=REJECTED_TOPIC,
        reasons={incident.subject: incident.count for incident in incidents},
        url=automation_url(dagster_url),
        time=timestamp(),
    )


def rejection_alerts_of(changes: IncidentChanges, dagster_url: str) -> list[RejectionAlert]:
    """Return an alert for all incidents that opened, and one for all that were resolved."""
    alerts = (
        rejection_alert("raised", changes.opened, dagster_url),
        rejection_alert("resolved", changes.resolved, dagster_url),
    )
    return [alert for alert in alerts if alert is not None]


@dg.sensor(
    name="rejection_alerts",
    description="Sends an alert when the stream starts to reject records for a reason, and another "
    "one after five minutes without further rejections.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=POLL_SECONDS,
)
def rejection_alerts(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[PlatformSettings]
) -> dg.SkipReason:
    """Poll the dead letters and alert on incidents that opened or were resolved."""
    if settings.kafka_servers is None:
        return dg.SkipReason(NO_STREAM)
    now_ms = time.time_ns() // 1_000_000
    offsets = IncidentCursor.from_json(context.cursor).offsets
    poll = poll_dead_letters(settings.kafka_servers, offsets, now_ms)
    incidents = track_incidents(
        context,
        settings,
        rejection_issues(poll.letters),
        REJECTION_POLICY,
        now_ms=now_ms,
        offsets=poll.offsets,
        describe=rejection_alerts_of,
    )
    return dg.SkipReason(f"{len(poll.letters)} new dead letters, {len(incidents)} open incidents")
