"""Incidents: health issues that last, from opening to resolution, across polls of a sensor.

Pure functions. A sensor polls for issues, passes them to `update_incidents`, sends an alert for
each change and stores the result in its cursor.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class HealthIssue:
    """A problem that a poll observed.

    `subject` identifies it across polls, `problem` describes it in one line, and `count` says how
    often it occurred since the last poll. An `urgent` issue opens its incident at once. The times
    of its first and last occurrence are in milliseconds since 1970; None is the time of the poll.
    """

    subject: str
    problem: str
    count: int = 1
    first_ms: int | None = None
    last_ms: int | None = None
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class IncidentPolicy:
    """The minimum duration until an incident opens, and the absence until it is resolved."""

    opens_after_ms: int
    resolves_after_ms: int


OUTAGE_POLICY = IncidentPolicy(opens_after_ms=60_000, resolves_after_ms=60_000)
"""The supervisor restarts a killed service within seconds; nobody has to be alerted for that."""


@dataclass(frozen=True, slots=True)
class Incident:
    """An issue over time; it waits for the policy's minimum duration until it is `opened`.

    `problem` is the description at the time of opening.
    """

    subject: str
    problem: str
    since_ms: int
    last_ms: int
    count: int = 1
    opened: bool = False


@dataclass(frozen=True, slots=True)
class IncidentChanges:
    """The incidents that opened or were resolved in a poll, sorted by subject."""

    opened: tuple[Incident, ...] = ()
    resolved: tuple[Incident, ...] = ()


@dataclass(frozen=True, slots=True)
class IncidentCursor:
    """The state of a sensor between two polls.

    `offsets` holds the next offset of each partition, for a sensor that reads a topic. `state` is
    the JSON object of a sensor that keeps more.
    """

    incidents: tuple[Incident, ...] = ()
    offsets: Mapping[int, int] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the text that `from_json` reads."""
        incidents = [asdict(incident) for incident in self.incidents]
        content = {"incidents": incidents, "offsets": dict(self.offsets)}
        return json.dumps(content | ({"state": dict(self.state)} if self.state else {}))

    @classmethod
    def from_json(cls, text: str | None) -> Self:
        """Parse a cursor of this or an earlier release; None gives an empty cursor."""
        content = json.loads(text or "{}")
        if isinstance(content, list):
            content = {"incidents": content}
        offsets = {int(number): offset for number, offset in content.get("offsets", {}).items()}
        incidents = tuple(map(_parse_incident, content.get("incidents", ())))
        return cls(incidents, offsets, content.get("state", {}))


def update_incidents(
    incidents: Iterable[Incident],
    issues: Iterable[HealthIssue],
    now_ms: int,
    policy: IncidentPolicy,
) -> tuple[tuple[Incident, ...], IncidentChanges]:
    """Return the incidents after a poll that observed `issues`, and the changes to report.

    An issue that disappears before its incident opens is dropped. An issue that this poll observed
    is never resolved by it, however old its last occurrence is.
    """
    previous = {incident.subject: incident for incident in incidents}
    observed = {issue.subject: issue for issue in issues}
    current: list[Incident] = []
    opened: list[Incident] = []
    resolved: list[Incident] = []
    for subject in sorted(previous.keys() | observed.keys()):
        incident = previous.get(subject)
        if subject in observed:
            incident = _observe(incident, observed[subject], now_ms)
            is_due = now_ms - incident.since_ms >= policy.opens_after_ms
            if not incident.opened and (is_due or observed[subject].urgent):
                incident = replace(incident, opened=True)
                opened.append(incident)
            current.append(incident)
        elif incident is not None and incident.opened:
            absent = now_ms - incident.last_ms >= policy.resolves_after_ms
            (resolved if absent else current).append(incident)
    return tuple(current), IncidentChanges(tuple(opened), tuple(resolved))


def _observe(incident: Incident | None, issue: HealthIssue, now_ms: int) -> Incident:
    first_ms = now_ms if issue.first_ms is None else issue.first_ms
    last_ms = now_ms if issue.last_ms is None else issue.last_ms
    if incident is None:
        return Incident(issue.subject, issue.problem, first_ms, last_ms, issue.count)
    return replace(
        incident,
        problem=incident.problem if incident.opened else issue.problem,
        since_ms=min(incident.since_ms, first_ms),
        last_ms=last_ms if issue.last_ms is None else max(incident.last_ms, last_ms),
        count=incident.count + issue.count,
    )


def _parse_incident(content: Mapping[str, Any]) -> Incident:
    """Parse an incident; in earlier releases, each sensor used other field names."""
    if "told" in content:  # stream_health, stale_assets
        values = {"problem": content["text"], "opened": content["told"]}
    elif "reason" in content:  # rejection_alerts
        values = {"subject": content["reason"], "problem": content["first"], "opened": True}
        values["count"] = content["records"]
    else:
        values = {}
    fields = {name: content[name] for name in Incident.__slots__ if name in content}
    return Incident(**{**fields, **values})
