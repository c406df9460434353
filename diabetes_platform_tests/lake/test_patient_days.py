"""The lake compared with the intake table, day by day."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.patient_days import PatientDay, incomplete_days, patient_days
from diabetes_platform_tests.intakes import BEGIN, changed, deleted, stream

MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
EARLIER = NOON - SECOND
IN_THE_INTAKE_TABLE = f"in the intake table of {NOON.isoformat()}"


def test_counts_patients_by_the_day_of_their_receipt(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    late = BEGIN + timedelta(days=1)
    stream(
        lake,
        changed(1, 1),
        changed(1, 2, outcome=1),
        changed(2, 3),
        changed(3, 4),
        deleted(3, 5),
        changed(4, 6, received_at=late),
    )
    days = patient_days(lake, BEGIN - timedelta(hours=12), late, {})
    assert days == {TUESDAY: PatientDay(TUESDAY, 2, BEGIN + 2 * SECOND)}
    assert patient_days(Lake(str(tmp_path / "none")), BEGIN, late, {1: BEGIN}) == {}


def test_leaves_out_patients_whose_newest_change_was_rejected(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    stream(lake, changed(1, 1), changed(2, 2, outcome=1), changed(3, 3, outcome=0), changed(4, 4))
    rejected = {1: BEGIN, 2: BEGIN + SECOND, 3: BEGIN + 3 * SECOND, 4711: BEGIN}
    days = patient_days(lake, BEGIN, BEGIN + SECOND, rejected)
    assert days == {TUESDAY: PatientDay(TUESDAY, 2, BEGIN + 2 * SECOND)}


@pytest.mark.parametrize(
    ("in_lake", "expected"),
    [
        pytest.param([PatientDay(TUESDAY, 5, NOON)], [], id="equal"),
        pytest.param([PatientDay(TUESDAY, 6, NOON + SECOND)], [], id="a deletion on its way"),
        pytest.param([PatientDay(TUESDAY, 5, NOON - timedelta(microseconds=9))], [], id="rounded"),
        pytest.param(
            [PatientDay(TUESDAY, 4, NOON)], ["2026-11-24: 4 of 5 patients"], id="a patient lacks"
        ),
        pytest.param([], ["2026-11-24: 0 of 5 patients"], id="the whole day lacks"),
        pytest.param(
            [PatientDay(MONDAY, 5, NOON)], ["2026-11-24: 0 of 5 patients"], id="another day"
        ),
        pytest.param(
            [PatientDay(TUESDAY, 5, EARLIER)],
            [f"{TUESDAY}: the newest change is of {EARLIER.isoformat()}, {IN_THE_INTAKE_TABLE}"],
            id="an outcome lacks",
        ),
    ],
)
def test_names_the_days_that_are_incomplete(in_lake: list[PatientDay], expected: list[str]) -> None:
    intake = [PatientDay(TUESDAY, 5, NOON)]
    assert incomplete_days(intake, {day.day: day for day in in_lake}) == expected


def test_a_day_whose_changes_are_all_too_new_has_no_newest_change() -> None:
    intake = [PatientDay(TUESDAY, 1, None)]
    assert incomplete_days(intake, {TUESDAY: PatientDay(TUESDAY, 1, NOON)}) == []
