"""Assets materialized by themselves: what they hold is what they say, and the gate still stands."""

import random
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from diabetes_platform.contract.tables import CLEANED_PATIENTS
from diabetes_platform.defs.resources import build_resources
from diabetes_platform.defs.staging_checks import staging_expectations
from diabetes_platform.lake.tables import Lake
from diabetes_platform.quality.expectations import EXPECTATIONS
from diabetes_platform.warehouse.promotion import rollback
from diabetes_platform_tests.defs.conftest import Platform

pytestmark = pytest.mark.integration
Write = Callable[..., Path]


def shuffled_outcomes(row: dict[str, str], n: int) -> dict[str, str]:
    return row | {"outcome": str(int(random.Random(n).random() < 0.35))}


def without_first(row: dict[str, str], n: int) -> dict[str, str] | None:
    return row if n else None


def test_a_candidate_that_failed_its_gate_is_not_released_in_a_run_of_its_own(
    platform: Platform, pima_with: Write
) -> None:
    platform.run()
    before = platform.champion()
    assert not platform.run(pima_with("shuffled", shuffled_outcomes)).success

    result = platform.run_only("model/champion")

    assert not result.success
    assert platform.champion() == before


def test_a_losing_candidate_is_not_trained_again_and_loses_again(
    platform: Platform, pima_with: Write
) -> None:
    platform.run()
    shuffled = pima_with("shuffled", shuffled_outcomes)
    platform.run(shuffled)

    result = platform.run(shuffled)

    assert not result.success
    assert platform.metadata("model/candidate")["processed"] is False


def test_staging_loads_the_version_that_the_event_log_speaks_of(
    platform: Platform, pima_with: Write
) -> None:
    """Another run has overwritten the cleaned table, and its event has not come."""
    platform.run(pima_with("first", without_first))
    platform.run()
    cleaned = Lake(platform.settings.lake).table(CLEANED_PATIENTS)
    newest = cleaned.version()
    cleaned.open().restore(newest - 1)
    platform.forget_staging()

    result = platform.run_only("staging/patients", "serving/patients")

    assert result.success
    (batch,) = platform.served()
    assert batch == (platform.metadata("cleaned/patients")["batch_id"], 766)


def test_a_nightly_run_after_a_rollback_leaves_the_rolled_back_version_away(
    platform: Platform, pima_with: Write
) -> None:
    platform.run(pima_with("first", without_first))
    first = platform.served()
    platform.run()
    rollback(platform.url)
    assert platform.served() == first

    platform.run()

    assert platform.served() == first
    assert platform.metadata("serving/patients")["batch_id"] == first[0][0]


def test_every_expectation_fails_where_the_staged_batch_cannot_be_told(
    platform: Platform,
) -> None:
    platform.run()
    with psycopg.connect(platform.url) as connection:
        connection.execute("DROP TABLE staging.batches CASCADE")

    result = dg.materialize(
        [staging_expectations],
        selection=dg.AssetSelection.all_asset_checks(),
        resources=build_resources(lambda: platform.settings),
        raise_on_error=False,
    )

    evaluations = result.get_asset_check_evaluations()
    assert len(evaluations) == len(EXPECTATIONS)
    assert not any(check.passed for check in evaluations)
