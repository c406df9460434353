"""The checks of drift on a lake with a training set and recent patients."""

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
    return {evaluation.check_name: evaluation for evaluation in run.get_asset_check_evaluations()}


def test_a_drifted_field_fails_with_numbers_and_a_plot(lake: Lake) -> None:
    with_training_set(lake)
    with_patients(lake, glucose=140, age=timedelta(hours=1))
    evaluations = results(lake)
    assert {name for name, evaluation in evaluations.items() if not evaluation.passed} == {
        drift_check("glucose")
    }
    moved = evaluations[drift_check("glucose")]
    assert moved.severity == dg.AssetCheckSeverity.WARN
    numbers: dict[str, Any] = {name: value.value for name, value in moved.metadata.items()}
    assert numbers["recent_patients"] == PATIENTS
    assert numbers["psi"] > numbers["psi_allowed"]
    assert str(numbers["plot/shares"]).startswith("![glucose then and now](data:image/png;base64,")


def test_older_patients_are_not_compared(lake: Lake) -> None:
    with_training_set(lake)
    with_patients(lake, glucose=140, age=timedelta(days=31))
    evaluations = results(lake)
    assert all(evaluation.passed for evaluation in evaluations.values())
    assert evaluations[drift_check("glucose")].metadata["recent_patients"].value == 0


def test_warns_for_every_field_without_a_training_set(lake: Lake) -> None:
    evaluations = results(lake)
    assert set(evaluations) == {drift_check(name) for name in FEATURE_NAMES}
    assert not any(evaluation.passed for evaluation in evaluations.values())
