"""Patients by the day (UTC) on which they were received: the lake compared with the intake."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from diabetes_platform.contract.tables import STREAM_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.newest_patients import newest_images

_COLUMNS = ("id", "op", "written_at", "kafka_offset", "received_at", "outcome_recorded_at")
_ROUNDING = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class PatientDay:
    """The number of patients received on a day, and the time of the newest change of one.

    `newest` is None if all changes are too new to count. `rejected` patients are in neither.
    """

    day: date
    patients: int
    newest: datetime | None
    rejected: int = 0


def patient_days(
    lake: Lake, since: datetime, until: datetime, rejected: Mapping[int, datetime]
) -> dict[date, PatientDay]:
    """Return the days with patients received from `since` to before `until` that the lake has.

    Deleted patients do not count, nor do patients without a change after the time in `rejected`.
    The result is empty if the table does not exist. Raises StorageError.
    """
    # Every change of a patient is written to the topic after the patient was received.
    images = newest_images(lake.days_since(STREAM_PATIENTS, since, _COLUMNS))
    received = images["received_at"]
    images = images.filter(
        pc.and_(
            pc.greater_equal(received, pa.scalar(since, received.type)),
            pc.less(received, pa.scalar(until, received.type)),
        )
    )
    images = images.filter(pc.invert(_is_rejected(images, rejected)))
    days = images.append_column("received_on", pc.cast(images["received_at"], pa.date32()))
    groups = days.group_by("received_on").aggregate(
        [("id", "count"), ("received_at", "max"), ("outcome_recorded_at", "max")]
    )
    return {
        row["received_on"]: PatientDay(
            row["received_on"],
            row["id_count"],
            max(filter(None, (row["received_at_max"], row["outcome_recorded_at_max"]))),
        )
        for row in groups.to_pylist()
    }


def _is_rejected(images: pa.Table, rejected: Mapping[int, datetime]) -> pa.ChunkedArray:
    received, recorded = images["received_at"], images["outcome_recorded_at"]
    times = pa.array(rejected.values(), received.type)
    rejected_at = times.take(pc.index_in(images["id"], pa.array(rejected, pa.int64())))
    last_covered = pc.add(rejected_at, pa.scalar(_ROUNDING))
    covers_outcome = pc.fill_null(pc.greater_equal(last_covered, recorded), fill_value=True)
    covered = pc.and_(pc.greater_equal(last_covered, received), covers_outcome)
    return pc.fill_null(covered, fill_value=False)


def incomplete_days(intake: Iterable[PatientDay], lake: Mapping[date, PatientDay]) -> list[str]:
    """Return one line for each day of which the lake lacks patients or the newest change.

    A patient who is only in the lake is no fault of the ingest: the deletion may be on its way.
    """
    problems = []
    for expected in intake:
        actual = lake.get(expected.day, PatientDay(expected.day, 0, None))
        if actual.patients < expected.patients:
            problems.append(
                f"{expected.day}: {actual.patients:,} of {expected.patients:,} patients"
            )
        elif expected.newest is not None and (
            actual.newest is None or actual.newest < expected.newest - _ROUNDING
        ):
            problems.append(
                f"{expected.day}: the newest change is of {_text(actual.newest)}, in the intake "
                f"table of {_text(expected.newest)}"
            )
    return problems


def _text(time: datetime | None) -> str:
    return "no time" if time is None else time.isoformat(timespec="seconds")
