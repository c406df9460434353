"""The sensor that turns dead letters of the stream into alerts: one when it begins, one at its end.

It reads the topic's headers and commits nothing; what it knows stands in its own cursor.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import dagster as dg

from diabetes_platform.contract.events import REJECTED_TOPIC
from diabetes_platform.defs.alerts.alerts import tell
from diabetes_platform.defs.stream.assets import NO_STREAM
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.rejections import Incident, follow, records_by_reason


@dataclass(frozen=True, slots=True)
class RejectionAlert:
    """Incidents of the stream that began or ended: records by reason, no values of them."""

    state: Literal["raised", "resolved"]
    incident: str
    topic: str
    reasons: dict[str, int]
    url: str
    time: str

    @property
    def identity(self) -> tuple[str, str]:
        """By what it is known in the log file."""
        return "incident", self.incident

    @property
    def text(self) -> str:
        """The alert in one line, as a chat shows it."""
        told = ", ".join(f"{reason} ({count} records)" for reason, count in self.reasons.items())
        if self.state == "resolved":
            return f"resolved: the stream rejects no more records for {told} ({self.url})"
        return f"the stream rejects records: {told}; they are kept in {self.topic} ({self.url})"


def alert_of(
    state: Literal["raised", "resolved"], incidents: Sequence[Incident], dagster_url: str
) -> RejectionAlert | None:
    """Return the alert of incidents that began or ended together, None of no incident.

    The same incidents give the same `incident`, so that an alert sent again is known.
    """
    if not incidents:
        return None
    places = ", ".join(f"{one.reason} at {one.first}" for one in incidents)
    return RejectionAlert(
        state=state,
        incident=f"{state}: {places}",
        topic=REJECTED_TOPIC,
        reasons=records_by_reason(incidents),
        url=f"{dagster_url}/automation",
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


@dg.sensor(
    name="rejection_alerts",
    description="Writes an alert when the stream begins to reject records for a reason, and "
    "one when it has ended: log file, and webhook where configured.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
)
def rejection_alerts(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[PlatformSettings]
) -> dg.SkipReason:
    """Alert on incidents that began or ended since the last tick."""
    if settings.kafka_servers is None:
        return dg.SkipReason(NO_STREAM)
    from diabetes_platform.streaming.dead_letters import look

    now_ms = time.time_ns() // 1_000_000
    offsets, known = read_cursor(context.cursor)
    seen = look(settings.kafka_servers, offsets, now_ms)
    going_on, news = follow(known, seen.letters, now_ms)
    raised = alert_of("raised", news.began, settings.dagster)
    resolved = alert_of("resolved", news.ended, settings.dagster)
    tell(context, filter(None, (raised, resolved)), settings)
    context.update_cursor(write_cursor(seen.offsets, going_on))
    return dg.SkipReason(f"{len(seen.letters)} new dead letters, {len(going_on)} incidents")


def read_cursor(text: str | None) -> tuple[dict[int, int], list[Incident]]:
    """Return the offsets by partition and the incidents that go on; nothing of no cursor."""
    if not text:
        return {}, []
    found: dict[str, Any] = json.loads(text)
    offsets = {int(partition): offset for partition, offset in found["offsets"].items()}
    return offsets, [Incident(**one) for one in found["incidents"]]


def write_cursor(offsets: dict[int, int], incidents: Sequence[Incident]) -> str:
    """Return what the next tick has to know."""
    return json.dumps({"offsets": offsets, "incidents": [asdict(one) for one in incidents]})
