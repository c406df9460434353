"""Sources without outcomes: their patients are served, and the model stays."""

import csv
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.describe import SKIPPED, TRAINING_ROWS
from diabetes_platform.settings import PIMA_CSV
from diabetes_platform_tests.defs.conftest import Platform
from diabetes_platform_tests.intakes import changed, stream

pytestmark = [pytest.mark.integration, pytest.mark.slow]
Write = Callable[..., Path]
TRAINED = ("features/training_set", "model/candidate", "model/shadow", "model/champion")


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    events = result.get_asset_materialization_events()
    return {event.asset_key.to_user_string() for event in events if event.asset_key is not None}


def without_outcomes(row: dict[str, str], _: int) -> dict[str, str]:
    return row | {"outcome": ""}


def few_outcomes(row: dict[str, str], n: int) -> dict[str, str]:
    """Four patients with and nine without diabetes keep their outcome."""
    return row if n % 60 == 0 else row | {"outcome": ""}


@pytest.fixture
def without_column(tmp_path: Path) -> Path:
    path = tmp_path / "without_column.csv"
    with PIMA_CSV.open(newline="") as source, path.open("w", newline="") as target:
        csv.writer(target).writerows(row[:-1] for row in csv.reader(source))
    return path


def assert_served_and_not_trained_on(platform: Platform, source: Path) -> None:
    champion = platform.champion()
    result = platform.run(source)
    assert result.success
    ((batch_id, rows),) = platform.served()
    assert (batch_id, rows) == (platform.metadata("cleaned/patients")["batch_id"], 766)
    assert "serving/patients" in materialized(result)
    assert not materialized(result) & set(TRAINED)
    assert platform.champion() == champion
    (observed,) = platform.instance.fetch_observations(TRAINING_ROWS, limit=1).records
    assert SKIPPED in observed.asset_observation.metadata


@pytest.mark.parametrize("change", [without_outcomes, few_outcomes])
def test_rows_without_outcomes_are_served_and_not_trained_on(
    serving: Platform, pima_with: Write, change: Callable[..., object]
) -> None:
    assert_served_and_not_trained_on(serving, pima_with("scoring", change))


def test_rows_without_the_outcome_column_are_served_and_not_trained_on(
    serving: Platform, without_column: Path
) -> None:
    assert_served_and_not_trained_on(serving, without_column)


def test_a_batch_after_one_without_outcomes_is_compared_with_the_reference(
    serving: Platform, without_column: Path, pima_with: Write
) -> None:
    assert serving.run(without_column).success
    inverted = pima_with("inverted", lambda row, _: row | {"outcome": str(1 - int(row["outcome"]))})
    result = serving.run(inverted)
    failed = {c.check_name for c in result.get_asset_check_evaluations() if not c.passed}
    assert "outcome_share_near_previous_batch" in failed
    assert [rows for _, rows in serving.served()] == [766]


def test_labels_of_one_class_do_not_stop_rows_without_outcomes(
    serving: Platform, without_column: Path
) -> None:
    labels = [changed(n, n, outcome=1, glucose=140.0 + n) for n in range(1, 21)]
    stream(Lake(serving.settings.lake), *labels)
    result = serving.run(without_column)
    assert result.success
    assert [rows for _, rows in serving.served()] == [786]
    assert not materialized(result) & set(TRAINED)


def test_a_first_batch_without_outcomes_is_served_without_a_model(
    platform: Platform, without_column: Path
) -> None:
    result = platform.run(without_column)
    assert result.success
    assert [rows for _, rows in platform.served()] == [766]
    assert not materialized(result) & set(TRAINED)
