"""The intake table as the pipeline may see it: ids, counts and times, but no measurement.

Every function raises psycopg.Error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from diabetes_platform.lake.patient_days import PatientDay
from diabetes_platform.warehouse.connection import connected

WAITING_AGE = timedelta(minutes=1)
"""Younger changes are on their way through the stream."""


@dataclass(frozen=True, slots=True)
class WaitingPatients:
    """The ids of patients who wait for a prediction, and the number of rejected patients."""

    ids: Sequence[int]
    rejected: int


@dataclass(frozen=True, slots=True)
class EmittedPatients:
    """The number of patients sent again, the last id, and the number of skipped patients.

    `last` is None if there is no patient left.
    """

    count: int
    last: int | None
    skipped: int = 0


def emission_text(emitted: int, skipped: int) -> str:
    """Return how many patients were emitted and skipped, and where the reason is described."""
    text = f"{emitted:,} patients emitted again"
    if not skipped:
        return text
    return (
        f"{text}, {skipped:,} skipped whose time or id is no longer allowed: "
        'see "Correct old intake times" in docs/operations.md'
    )


def waiting_patients(
    url: str, older_than: timedelta, limit: int, rejected: Mapping[int, datetime], after_id: int = 0
) -> WaitingPatients:
    """Return the patients whose newest change has no prediction: the first `limit` after an id.

    Patients whom `emit_next` skips do not wait: the stream never answers them.
    Changes younger than `older_than` are on their way and do not count. `rejected` has the time of
    the newest rejection by patient: a patient without a later change does not wait.
    """
    with connected(url) as connection:
        row = connection.execute(
            "SELECT waiting, rejected FROM serving.waiting_patients(%s, %s, %s, %s, %s)",
            [older_than, after_id, limit, list(rejected), list(rejected.values())],
        ).fetchone()
    return WaitingPatients(*row) if row else WaitingPatients((), 0)


def deleted_patients(url: str, limit: int, after_id: int = 0) -> list[int]:
    """Return who was deleted and still has predictions: the first `limit` ids after an id."""
    with connected(url) as connection:
        rows = connection.execute(
            "SELECT intake_id FROM serving.deleted_patients(%s, %s)", [after_id, limit]
        )
        return [intake_id for (intake_id,) in rows]


def emit_again(url: str, ids: Sequence[int]) -> int:
    """Send the present rows of these patients through the stream again; return their number."""
    with connected(url) as connection:
        row = connection.execute("SELECT serving.emit_again(%s::bigint[])", [list(ids)]).fetchone()
        return int(row[0]) if row else 0


def emit_next(url: str, after_id: int, limit: int) -> EmittedPatients:
    """Send the present rows of the first `limit` patients after an id through the stream again.

    Rows from before migration 0006 with a time that it rejects cannot be updated and are skipped.
    """
    with connected(url) as connection:
        row = connection.execute(
            "SELECT emitted, last_id, skipped FROM serving.emit_next(%s, %s)", [after_id, limit]
        ).fetchone()
        return EmittedPatients(*row) if row else EmittedPatients(0, None)


def intake_days(
    url: str, since: datetime, until: datetime, rejected: Mapping[int, datetime]
) -> list[PatientDay]:
    """Return the days with patients received from `since` to before `until`.

    A day's newest change is before `until`, too. `rejected` is that of `waiting_patients`.
    """
    with connected(url) as connection:
        rows = connection.execute(
            "SELECT * FROM serving.intake_days(%s, %s, %s, %s)",
            [since, until, list(rejected), list(rejected.values())],
        )
        return [PatientDay(*row) for row in rows]
