"""The intake table as the pipeline may see it: ids, counts and times, but no measurement.

Every function raises psycopg.Error.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import psycopg

from diabetes_platform.lake.patient_days import PatientDay


def waiting_patients(url: str, older_than: timedelta, limit: int) -> list[int]:
    """Return the ids of patients whose newest change has no prediction, at most `limit`.

    Changes younger than `older_than` are on their way and do not count. The result also has
    patients whom the stream has rejected.
    """
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT intake_id FROM serving.waiting_patients(%s, %s)", [older_than, limit]
        )
        return [intake_id for (intake_id,) in rows]


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


def intake_days(url: str, since: datetime, older_than: timedelta) -> list[PatientDay]:
    """Return the days with patients received from `since` on, except changes of `older_than`."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT * FROM serving.intake_days(%s, %s)", [since, older_than])
        return [PatientDay(*row) for row in rows]
