"""The intake table as the pipeline may see it: ids, counts and times, but no measurement.

Every function raises psycopg.Error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg

from diabetes_platform.lake.patient_days import PatientDay


@dataclass(frozen=True, slots=True)
class WaitingPatients:
    """The ids of patients who wait for a prediction, and the number of rejected patients."""

    ids: Sequence[int]
    rejected: int


def waiting_patients(
    url: str, older_than: timedelta, limit: int, rejected: Mapping[int, datetime]
) -> WaitingPatients:
    """Return the patients whose newest change has no prediction, at most `limit` ids.

    Changes younger than `older_than` are on their way and do not count. `rejected` has the time of
    the newest rejection by patient: a patient without a later change does not wait.
    """
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT waiting, rejected FROM serving.waiting_patients(%s, %s, %s, %s)",
            [older_than, limit, list(rejected), list(rejected.values())],
        ).fetchone()
    return WaitingPatients(*row) if row else WaitingPatients((), 0)


def deleted_patients(url: str, limit: int) -> list[int]:
    """Return the ids of patients who were deleted and still have predictions, at most `limit`."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT intake_id FROM serving.deleted_patients(%s)", [limit])
        return [intake_id for (intake_id,) in rows]


def emit_again(url: str, ids: Sequence[int]) -> int:
    """Send the present rows of these patients through the stream again; return their number."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT serving.emit_again(%s::bigint[])", [list(ids)]).fetchone()
        return int(row[0]) if row else 0


def intake_days(
    url: str, since: datetime, older_than: timedelta, rejected: Mapping[int, datetime]
) -> list[PatientDay]:
    """Return the days with patients received from `since` on, except changes of `older_than`.

    `rejected` is that of `waiting_patients`.
    """
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT * FROM serving.intake_days(%s, %s, %s, %s)",
            [since, older_than, list(rejected), list(rejected.values())],
        )
        return [PatientDay(*row) for row in rows]
