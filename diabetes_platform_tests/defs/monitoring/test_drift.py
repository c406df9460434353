"""The checks of drift on a lake of the test's own: a training set, and patients of late."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.contract.tables import STREAM_PATIENTS, TRAINING_SET
from diabetes_platform.defs.monitoring.drift import drift_checks
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.automation import drift_check
from diabetes_platform_tests.lake.appending import append_rows

PATIENTS = 300


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


def measured(mean: float, seed: int) -> dict[str, np.ndarray]:
    """Each feature about 100, glucose about `mean`."""
    random = np.random.default_rng(seed)
    means = dict.fromkeys(FEATURE_NAMES, 100.0) | {"glucose": mean}
    return {name: random.normal(mean, 20, PATIENTS) for name, mean in means.items()}


def with_training_set(lake: Lake) -> None:
    rows = {
        **measured(100, seed=1),
        "record_id": [f"r-{n}" for n in range(PATIENTS)],
        "outcome": np.arange(PATIENTS) % 2,
        "batch_id": ["b"] * PATIENTS,
    }
    lake.snapshot(TRAINING_SET, pa.table(rows), "a" * 64)


def with_patients(lake: Lake, glucose: float, age: timedelta) -> None:
    taken_in = datetime.now(UTC) - age
    day, values = taken_in.date().isoformat(), measured(glucose, seed=2)
    rows = [
        {
            "change_id": f"{n}-{n}",
            "day": day,
            "id": n,
            "op": "c",
            "topic_id": "t",
            "kafka_partition": 0,
            "kafka_offset": n,
            "written_at": taken_in,
            "received_at": taken_in,
            **{name: float(values[name][n]) for name in FEATURE_NAMES},
        }
        for n in range(PATIENTS)
    ]
    append_rows(lake, STREAM_PATIENTS, rows)


def results(lake: Lake) -> dict[str, dg.AssetCheckEvaluation]:
    run = dg.materialize(
        [drift_checks], selection=dg.AssetSelection.all_asset_checks(), resources={"lake": lake}
    )
    return {each.check_name: each for each in run.get_asset_check_evaluations()}


def test_a_field_that_moved_is_named_with_its_numbers_and_its_plot(lake: Lake) -> None:
    with_training_set(lake)
    with_patients(lake, glucose=140, age=timedelta(hours=1))
    found = results(lake)
    assert {name for name, each in found.items() if not each.passed} == {drift_check("glucose")}
    moved = found[drift_check("glucose")]
    assert moved.severity == dg.AssetCheckSeverity.WARN
    numbers: dict[str, Any] = {name: value.value for name, value in moved.metadata.items()}
    assert numbers["recent_patients"] == PATIENTS
    assert numbers["psi"] > numbers["psi_allowed"]
    assert str(numbers["plot/shares"]).startswith("![glucose then and now](data:image/png;base64,")


def test_patients_of_long_ago_say_nothing(lake: Lake) -> None:
    with_training_set(lake)
    with_patients(lake, glucose=140, age=timedelta(days=31))
    found = results(lake)
    assert all(each.passed for each in found.values())
    assert found[drift_check("glucose")].metadata["recent_patients"].value == 0


def test_without_a_training_set_every_check_says_so(lake: Lake) -> None:
    found = results(lake)
    assert set(found) == {drift_check(name) for name in FEATURE_NAMES}
    assert not any(each.passed for each in found.values())
