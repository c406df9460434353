"""The released champion against the candidate on patients it was not trained on."""

from dataclasses import replace

import numpy as np
import pytest

from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.release_gate import (
    MIN_NEW_ROWS,
    evaluate_on_new_rows,
    new_rows,
)
from diabetes_platform.modelling.store import ModelVersion
from diabetes_platform.modelling.training import Candidate, train_candidate
from diabetes_platform.modelling.training_set import TrainingSet
from diabetes_platform_tests.modelling.patients import by_intake, chosen, relabelled
from diabetes_platform_tests.modelling.test_classifier import version_of

LEARNER = Recipe(num_iterations=60, learning_rate=0.1, folds=5, repeats=1)


@pytest.fixture(scope="module")
def older(pima: TrainingSet) -> TrainingSet:
    """Half of the patients: those whom the champions of these tests have learned from."""
    return chosen(pima, np.arange(len(pima)) % 2 == 0)


@pytest.fixture(scope="module")
def challenger(pima: TrainingSet) -> Candidate:
    return train_candidate(pima, LEARNER, delta_version=2)


@pytest.fixture(scope="module")
def misled(older: TrainingSet) -> ModelVersion:
    """A champion that has learned the outcomes of other patients."""
    shuffled = np.random.default_rng(1).permutation(older.outcomes)
    return version_of(train_candidate(relabelled(older, shuffled), LEARNER, delta_version=1))


def test_passes_against_a_champion_that_is_wrong_about_new_patients(
    pima: TrainingSet, older: TrainingSet, challenger: Candidate, misled: ModelVersion
) -> None:
    result = evaluate_on_new_rows(
        pima, challenger.out_of_fold, challenger.bundle, champion=misled, champion_rows=older
    )
    assert result.passed, result.text
    assert result.high is not None
    assert result.high < 0, "surely better, not by chance"
    assert f"beats the champion on {len(pima) - len(older)} rows" in result.text


def test_fails_a_candidate_that_is_wrong_about_new_patients(
    pima: TrainingSet, older: TrainingSet
) -> None:
    shuffled = relabelled(pima, np.random.default_rng(1).permutation(pima.outcomes))
    misled = train_candidate(shuffled, LEARNER, delta_version=2)
    good = version_of(train_candidate(older, LEARNER, delta_version=1))
    result = evaluate_on_new_rows(
        pima, misled.out_of_fold, misled.bundle, champion=good, champion_rows=older
    )
    assert not result.passed
    assert result.text.startswith("failed: beats the champion on")


def test_compares_squared_errors_by_row(
    pima: TrainingSet, older: TrainingSet, challenger: Candidate, misled: ModelVersion
) -> None:
    result = evaluate_on_new_rows(
        pima, challenger.out_of_fold, challenger.bundle, champion=misled, champion_rows=older
    )
    (brier,) = result.differences
    new = new_rows(older, pima)
    expected = ((challenger.out_of_fold.probabilities[0] - pima.outcomes) ** 2)[new].mean()
    assert brier.candidate == pytest.approx(expected)
    assert brier.estimate == pytest.approx(brier.candidate - brier.rival)


@pytest.mark.parametrize("new", [0, MIN_NEW_ROWS - 1])
def test_passes_with_too_few_new_rows(
    pima: TrainingSet, challenger: Candidate, misled: ModelVersion, new: int
) -> None:
    older_rows = chosen(pima, np.arange(len(pima)) >= new)
    result = evaluate_on_new_rows(
        pima, challenger.out_of_fold, challenger.bundle, champion=misled, champion_rows=older_rows
    )
    assert result.passed
    assert result.estimate is None
    assert result.text.startswith(f"{new} rows are new to the champion")


def test_passes_if_the_new_rows_have_one_outcome(
    pima: TrainingSet, challenger: Candidate, misled: ModelVersion
) -> None:
    ill = np.flatnonzero(pima.outcomes == 1)[: 2 * MIN_NEW_ROWS]
    older_rows = chosen(pima, ~np.isin(np.arange(len(pima)), ill))
    result = evaluate_on_new_rows(
        pima, challenger.out_of_fold, challenger.bundle, champion=misled, champion_rows=older_rows
    )
    assert result.passed
    assert (
        f"{2 * MIN_NEW_ROWS} rows are new to the champion, {2 * MIN_NEW_ROWS} of them ill"
        in result.text
    )


@pytest.mark.parametrize("says", ["no champion", "the same model", "another contract"])
def test_passes_if_the_models_cannot_be_compared(
    pima: TrainingSet, challenger: Candidate, misled: ModelVersion, says: str
) -> None:
    foreign = replace(misled, bundle=replace(misled.bundle, contract_fingerprint="f" * 64))
    champion = {"no champion": None, "the same model": version_of(challenger)}.get(says, foreign)
    result = evaluate_on_new_rows(
        pima, challenger.out_of_fold, challenger.bundle, champion=champion, champion_rows=None
    )
    assert result.passed
    assert result.estimate is None


def test_a_corrected_patient_is_not_new(pima: TrainingSet) -> None:
    older_rows = by_intake(pima, 3, 77)
    features = pima.features.copy()
    features[3, 1] += 5
    corrected = replace(
        older_rows, features=features, measurement_keys=("new", *older_rows.measurement_keys[1:])
    )
    assert new_rows(older_rows, older_rows).sum() == 0
    moved = replace(
        corrected,
        measurement_keys=tuple(
            "new" if row == 3 else key for row, key in enumerate(older_rows.measurement_keys)
        ),
    )
    assert new_rows(older_rows, moved).sum() == 0, "her intake is known"
    assert new_rows(pima, moved).tolist().count(True) == 1, "where it is not, nobody can tell"
    assert new_rows(None, pima).all()
