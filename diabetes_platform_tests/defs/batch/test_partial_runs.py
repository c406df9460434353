"""Assets materialized in runs of their own: their content and the release gate."""

import random
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from diabetes_platform.contract.tables import CLEANED_PATIENTS
from diabetes_platform.defs.batch.staging import staging_expectations
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.resources import build_resources
from diabetes_platform.quality.expectations import EXPECTATIONS
from diabetes_platform.warehouse.promotion import rollback
from diabetes_platform_tests.defs.conftest import Platform

pytestmark = [pytest.mark.integration, pytest.mark.slow]
Write = Callable[..., Path]


def shuffled_outcomes(row: dict[str, str], n: int) -> dict[str, str]:
    # With this seed, glucose is a little higher with the outcome: staging accepts the batch.
    return row | {"outcome": str(int(random.Random(8000 + n).random() < 0.35))}


def without_first(row: dict[str, str], n: int) -> dict[str, str] | None:
    return row if n else None


def test_a_candidate_that_failed_its_gate_is_not_released_in_a_run_of_its_own(
    serving: Platform, pima_with: Write
) -> None:
    champion = serving.champion()
    assert not serving.run(pima_with("shuffled", shuffled_outcomes)).success

    result = serving.run_only("model/champion")

    assert not result.success
    assert serving.champion() == champion


def test_a_failed_candidate_is_not_trained_again_and_fails_again(
    serving: Platform, pima_with: Write
) -> None:
    shuffled = pima_with("shuffled", shuffled_outcomes)
    serving.run(shuffled)

    result = serving.run(shuffled)

    assert not result.success
    assert serving.metadata("model/candidate")["processed"] is False


def test_staging_counts_a_cleaned_table_whose_commit_has_no_metadata(
    serving: Platform, pima_with: Write
) -> None:
    """The rows' own commit is restored, without the metadata that was added to it."""
    serving.run(pima_with("without_first", without_first))
    cleaned = Lake(serving.settings.lake).table(CLEANED_PATIENTS)
    cleaned.open().restore(cleaned.version() - 1)
    serving.forget_staging()

    result = serving.run_only("staging/patients", "serving/patients")

    assert result.success
    (batch,) = serving.served()
    assert batch == (serving.metadata("cleaned/patients")["batch_id"], 765)


def test_a_batch_after_a_rollback_does_not_promote_the_same_version(
    serving: Platform, pima_with: Write
) -> None:
    first = serving.served()
    later = pima_with("without_first", without_first)
    serving.run(later)
    assert serving.served() != first
    rollback(serving.url)
    assert serving.served() == first

    serving.run(later)

    assert serving.served() == first
    assert serving.metadata("serving/patients")["batch_id"] == first[0][0]


def test_every_expectation_fails_without_the_table_of_batches(
    serving: Platform,
) -> None:
    with psycopg.connect(serving.url) as connection:
        connection.execute("DROP TABLE staging.batches CASCADE")

    result = dg.materialize(
        [staging_expectations],
        selection=dg.AssetSelection.all_asset_checks(),
        resources=build_resources(lambda: serving.settings),
        raise_on_error=False,
    )

    evaluations = result.get_asset_check_evaluations()
    assert len(evaluations) == len(EXPECTATIONS)
    assert not any(check.passed for check in evaluations)
