"""The newest image of each patient, in whatever order its changes were stored."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from diabetes_platform.contract.tables import STREAM_PATIENTS
from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.newest_patients import (
    newest_images,
    patients_since,
    without_unchanged,
)
from diabetes_platform_tests.lake.appending import append_rows

MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)
SCHEMA = row_schema(STREAM_PATIENTS)


def change(
    patient: int, offset: int, op: str = "u", glucose: float | None = None, days: int = 0
) -> dict[str, object]:
    """A row that was written `days` after Monday; a creation receives the patient at that time."""
    written = MONDAY + timedelta(days=days, seconds=offset)
    return {
        "change_id": f"{patient}-{offset}",
        "day": written.date().isoformat(),
        "id": patient,
        "op": op,
        "topic_id": "t",
        "kafka_partition": 0,
        "kafka_offset": offset,
        "written_at": written,
        "received_at": None if op == "d" else MONDAY + timedelta(days=days if op == "c" else 0),
        "glucose": glucose,
    }


def changes(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def glucose_by_patient(table: pa.Table) -> dict[int, float]:
    return dict(zip(table["id"].to_pylist(), table["glucose"].to_pylist(), strict=True))


@pytest.mark.parametrize("order", [1, -1])
def test_returns_the_newest_image_of_each_patient(order: int) -> None:
    rows = [
        change(1, 0, "c", 100),
        change(2, 1, "c", 120),
        change(1, 2, "u", 110),
        change(2, 3, "u", 130),
        change(2, 4, "u", 140),
    ]
    assert glucose_by_patient(newest_images(changes(*rows[::order]))) == {1: 110, 2: 140}


def test_a_deleted_patient_has_no_image() -> None:
    rows = changes(change(1, 0, "c", 100), change(1, 1, "d"), change(2, 2, "c", 120))
    assert glucose_by_patient(newest_images(rows)) == {2: 120}


def test_a_recreated_topic_starts_again_at_offset_0_and_its_change_is_newer() -> None:
    rows = changes(change(1, 500, "c", 100), change(1, 0, "u", 110, days=1))
    assert glucose_by_patient(newest_images(rows)) == {1: 110}


def test_no_changes_give_no_images() -> None:
    assert newest_images(changes()).num_rows == 0


def test_leaves_out_patients_received_earlier_even_if_they_changed_since(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    assert patients_since(lake, MONDAY).num_rows == 0
    for rows in (
        [change(1, 0, "c", 100)],
        [change(1, 1, "u", 110, days=2), change(2, 2, "c", 120, days=2)],
    ):
        append_rows(lake, STREAM_PATIENTS, rows)
    assert glucose_by_patient(patients_since(lake, MONDAY)) == {1: 110, 2: 120}
    assert glucose_by_patient(patients_since(lake, MONDAY + timedelta(days=1))) == {2: 120}


@pytest.mark.parametrize(
    ("stored", "rows", "added"),
    [
        pytest.param(
            [change(1, 0, "c", 100), change(2, 1, "c")],
            [change(1, 10, "r", 100), change(2, 11, "r"), change(3, 12, "r", 100)],
            ["3-12"],
            id="unchanged since the first change",
        ),
        pytest.param(
            [change(1, 0, "c", 100), change(1, 1, "u", 110)],
            [change(1, 10, "r", 100), change(1, 11, "r", 100), change(1, 12, "r", 110)],
            ["1-10", "1-12"],
            id="back to an earlier value, and back again",
        ),
        pytest.param(
            [change(1, 0, "c", 100), change(2, 1, "c", None)],
            [change(1, 10, "r", None), change(2, 11, "r", 100)],
            ["1-10", "2-11"],
            id="a value became missing or known",
        ),
        pytest.param(
            [change(1, 0, "c", 100), change(1, 1, "d")],
            [change(1, 10, "r", 100)],
            ["1-10"],
            id="deleted in between",
        ),
        pytest.param(
            [],
            [change(1, 10, "c", 100), change(1, 11, "r", 100), change(1, 12, "r", 100)],
            ["1-10"],
            id="two snapshots in one batch and no table",
        ),
        pytest.param(
            [change(1, 0, "c", 100, days=1)],
            [change(1, 10, "r", 100)],
            ["1-10"],
            id="only later changes have the same values",
        ),
        pytest.param(
            [change(1, 0, "r", 100), change(1, 10, "r", 110), change(1, 20, "u", 120)],
            [change(1, 10, "r", 110), change(1, 30, "u", 130)],
            ["1-30"],
            id="rows that are stored already, and an update",
        ),
        pytest.param(
            [change(1, 0, "c", 100)],
            [change(1, 10, "u", 100), change(1, 11, "u", 110), change(1, 12, "u", 110)],
            ["1-11"],
            id="updates that change nothing",
        ),
    ],
)
def test_an_unchanged_image_adds_no_row(
    tmp_path: Path,
    stored: list[dict[str, object]],
    rows: list[dict[str, object]],
    added: list[str],
) -> None:
    lake = Lake(str(tmp_path))
    if stored:
        append_rows(lake, STREAM_PATIENTS, stored)
    assert without_unchanged(lake, changes(*rows))["change_id"].to_pylist() == added
    assert without_unchanged(lake, changes()).num_rows == 0
