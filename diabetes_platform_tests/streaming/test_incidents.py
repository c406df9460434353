"""Incidents over several polls, and the cursor that keeps them."""

import json
from dataclasses import replace

import pytest

from diabetes_platform.streaming.incidents import (
    HealthIssue,
    Incident,
    IncidentChanges,
    IncidentCursor,
    IncidentPolicy,
    update_incidents,
)

JOB = HealthIssue("job patients", "is FAILED")
LAG = HealthIssue("group predictor", "is 20,000 messages behind")
START = 1_800_000_000_000
TICK = 15_000
MINUTE = 60_000
OUTAGES = IncidentPolicy(opens_after_ms=MINUTE, resolves_after_ms=MINUTE)
AT_ONCE = IncidentPolicy(opens_after_ms=0, resolves_after_ms=5 * MINUTE)

Subjects = tuple[tuple[str, ...], tuple[str, ...]]
NO_CHANGE: Subjects = ((), ())


def changed_subjects(*polls: tuple[HealthIssue, ...]) -> list[Subjects]:
    """The subjects opened and resolved at each of some polls, 15 seconds apart."""
    incidents: tuple[Incident, ...] = ()
    subjects = []
    for number, issues in enumerate(polls):
        incidents, changes = update_incidents(incidents, issues, START + number * TICK, OUTAGES)
        opened, resolved = (
            tuple(incident.subject for incident in part)
            for part in (changes.opened, changes.resolved)
        )
        subjects.append((opened, resolved))
    return subjects


def test_an_issue_shorter_than_the_minimum_opens_no_incident() -> None:
    assert changed_subjects((JOB,), (JOB,), (JOB,), (), (), (), (), ()) == [NO_CHANGE] * 8


def test_a_lasting_issue_is_opened_once_and_resolved_once() -> None:
    polls = [(JOB,)] * 7 + [()] * 6
    opened = [number for number, change in enumerate(changed_subjects(*polls)) if change[0]]
    resolved = [number for number, change in enumerate(changed_subjects(*polls)) if change[1]]
    assert (opened, resolved) == ([MINUTE // TICK], [6 + MINUTE // TICK])


def test_an_urgent_issue_is_opened_at_once_and_resolved_like_any_other() -> None:
    urgent = replace(JOB, urgent=True)
    changes = changed_subjects((urgent,), (urgent,), *[()] * 6)
    assert changes[0] == ((JOB.subject,), ())
    assert [number for number, change in enumerate(changes) if change[1]] == [1 + MINUTE // TICK]
    assert changed_subjects((JOB,), (urgent,))[1] == ((JOB.subject,), ())


def test_an_intermittent_issue_is_one_incident() -> None:
    polls = [(JOB,)] * 6 + [(), (JOB,), (), (), (JOB,), ()]
    changes = [change for change in changed_subjects(*polls) if change != NO_CHANGE]
    assert changes == [((JOB.subject,), ())]


def test_each_subject_has_an_incident_of_its_own() -> None:
    polls = [(JOB,), (JOB, LAG), (JOB, LAG), (JOB, LAG), (JOB, LAG), (LAG,)]
    assert changed_subjects(*polls)[4:] == [((JOB.subject,), ()), ((LAG.subject,), ())]


def test_an_incident_opens_with_the_latest_problem_and_keeps_it() -> None:
    slow = HealthIssue(LAG.subject, "is 10 messages behind")
    incidents, _ = update_incidents((), [slow], START, OUTAGES)
    incidents, changes = update_incidents(incidents, [LAG], START + MINUTE, OUTAGES)
    opened = Incident(LAG.subject, LAG.problem, START, START + MINUTE, count=2, opened=True)
    assert changes.opened == incidents == (opened,)
    incidents, _ = update_incidents(incidents, [slow], START + 2 * MINUTE, OUTAGES)
    assert incidents[0].problem == LAG.problem


def test_a_clock_set_back_opens_nothing_twice() -> None:
    incidents, changes = update_incidents((), [JOB], START, OUTAGES)
    incidents, changes = update_incidents(incidents, [JOB], START + MINUTE, OUTAGES)
    assert len(changes.opened) == 1
    incidents, changes = update_incidents(incidents, [JOB], START - 60 * MINUTE, OUTAGES)
    assert changes == IncidentChanges()
    assert incidents[0].opened


def occurrence(at_ms: int, count: int = 1) -> HealthIssue:
    return HealthIssue("age:missing", "topic-0-7", count, at_ms, at_ms)


def test_without_a_minimum_duration_the_first_occurrence_opens_an_incident() -> None:
    incidents, changes = update_incidents((), [occurrence(START, 2)], START, AT_ONCE)
    assert changes.opened == incidents
    assert [(incident.count, incident.since_ms) for incident in incidents] == [(2, START)]


def test_occurrences_of_an_open_incident_are_counted_and_not_reported() -> None:
    incidents, _ = update_incidents((), [occurrence(START)], START, AT_ONCE)
    later = START + MINUTE
    incidents, changes = update_incidents(incidents, [occurrence(later)], later, AT_ONCE)
    assert changes == IncidentChanges()
    assert incidents == (Incident("age:missing", "topic-0-7", START, later, 2, opened=True),)


@pytest.mark.parametrize(("absent_ms", "resolved"), [(299_999, False), (300_000, True)])
def test_an_incident_is_resolved_after_its_absence(absent_ms: int, *, resolved: bool) -> None:
    opened, _ = update_incidents((), [occurrence(START)], START, AT_ONCE)
    incidents, changes = update_incidents(opened, (), START + absent_ms, AT_ONCE)
    assert (incidents == ()) is resolved
    assert changes == IncidentChanges(resolved=opened if resolved else ())


def test_an_issue_that_returns_after_its_resolution_opens_a_new_incident() -> None:
    incidents, _ = update_incidents((), [occurrence(START)], START, AT_ONCE)
    later = START + AT_ONCE.resolves_after_ms
    incidents, _ = update_incidents(incidents, (), later, AT_ONCE)
    _, changes = update_incidents(incidents, [occurrence(later)], later, AT_ONCE)
    assert [incident.since_ms for incident in changes.opened] == [later]


def test_an_occurrence_long_before_the_poll_is_opened_now_and_resolved_by_the_next_poll() -> None:
    long_ago = START - 2 * AT_ONCE.resolves_after_ms
    incidents, changes = update_incidents((), [occurrence(long_ago)], START, AT_ONCE)
    assert (len(changes.opened), changes.resolved) == (1, ())
    _, changes = update_incidents(incidents, (), START, AT_ONCE)
    assert [incident.subject for incident in changes.resolved] == ["age:missing"]


def test_a_cursor_is_read_as_it_was_written() -> None:
    open_incident = Incident("age:missing", "topic-0-7", 1, 2, 3, opened=True)
    cursor = IncidentCursor((open_incident,), {0: 7, 1: 9}, {"slot_progress": [28_605_664, 5]})
    assert IncidentCursor.from_json(cursor.to_json()) == cursor
    assert IncidentCursor.from_json(None) == IncidentCursor.from_json("") == IncidentCursor()


@pytest.mark.parametrize(
    ("text", "cursor"),
    [
        pytest.param(
            [{"subject": "Kafka", "text": "is away", "since_ms": 1, "last_ms": 2, "told": True}],
            IncidentCursor((Incident("Kafka", "is away", 1, 2, opened=True),)),
            id="stream_health",
        ),
        pytest.param(
            {
                "offsets": {"0": 7},
                "incidents": [
                    {
                        "reason": "age:missing",
                        "records": 3,
                        "first": "topic-0-4",
                        "since_ms": 1,
                        "last_ms": 2,
                    }
                ],
            },
            IncidentCursor((Incident("age:missing", "topic-0-4", 1, 2, 3, opened=True),), {0: 7}),
            id="rejection_alerts",
        ),
    ],
)
def test_a_cursor_of_an_earlier_release_is_read(text: object, cursor: IncidentCursor) -> None:
    assert IncidentCursor.from_json(json.dumps(text)) == cursor
