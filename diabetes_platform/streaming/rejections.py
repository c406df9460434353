"""When dead letters are worth an alert: once for each incident, and once when it is over. Pure.

An incident is one reason, written `field:code`; it lasts for as long as dead letters give it. Every
dead letter is worth one: the table's own rules let nothing through that the stream would reject.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

QUIET_MS = 300_000
"""An incident is over when its reason was not given for five minutes."""
NO_REASONS = "reasons:missing"
"""Of a message that nobody of the platform put into the topic."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """All reasons of one, when it was rejected (ms since 1970), where it lies."""

    reasons: tuple[str, ...]
    rejected_ms: int
    place: str


@dataclass(frozen=True, slots=True)
class Incident:
    """How many records one reason rejected, the first one's place, when (ms since 1970)."""

    reason: str
    records: int
    first: str
    since_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class News:
    """What began and what ended since the last look, in the order of the reasons."""

    began: tuple[Incident, ...]
    ended: tuple[Incident, ...]


def follow(
    known: Iterable[Incident], letters: Iterable[DeadLetter], now_ms: int
) -> tuple[tuple[Incident, ...], News]:
    """Return the incidents that go on after `letters`, and what there is to tell."""
    before = {one.reason: one for one in known}
    after = dict(before)
    for letter in letters:
        for reason in dict.fromkeys(letter.reasons or (NO_REASONS,)):
            after[reason] = _counted(after.get(reason), reason, letter)
    # What began and ended between two looks is told at this one, and its end at the next.
    ended = {r: one for r, one in before.items() if now_ms - after[r].last_ms > QUIET_MS}
    began = [after[reason] for reason in sorted(after.keys() - before.keys())]
    going_on = tuple(one for reason, one in sorted(after.items()) if reason not in ended)
    return going_on, News(tuple(began), tuple(after[reason] for reason in sorted(ended)))


def _counted(incident: Incident | None, reason: str, letter: DeadLetter) -> Incident:
    if incident is None:
        return Incident(reason, 1, letter.place, letter.rejected_ms, letter.rejected_ms)
    last_ms = max(incident.last_ms, letter.rejected_ms)
    return replace(incident, records=incident.records + 1, last_ms=last_ms)


def begin_at(saved: int | None, low: int, high: int, most: int) -> int | None:
    """Return the offset to read on from, None where nothing was `saved`.

    The topic holds `low` to below `high`. One that was made anew is read from its beginning; of
    a backlog only the newest `most` are read.
    """
    if saved is None:
        return None
    return max(low if saved > high else saved, low, high - most)


def records_by_reason(incidents: Iterable[Incident]) -> dict[str, int]:
    """Return how many records each reason rejected."""
    return {one.reason: one.records for one in incidents}


def reasons_in(header: str | bytes | None) -> tuple[str, ...]:
    """Return the reasons in a dead letter's header, or that there are none that can be read."""
    try:
        found = json.loads(header or "[]")
    except ValueError:
        found = []
    reasons = found if isinstance(found, list) else []
    return tuple(map(str, reasons)) or (NO_REASONS,)
