"""The champion as it is released against the candidate, on patients it has never learned from."""

from dataclasses import replace

import numpy as np
import pytest

from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.release_gate import (
    FEWEST,
    beats_champion_on_newest_rows,
    new_to,
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


def test_a_champion_that_is_wrong_about_new_patients_is_beaten(
    pima: TrainingSet, older: TrainingSet, challenger: Candidate, misled: ModelVersion
) -> None:
    verdict = beats_champion_on_newest_rows(
        pima, challenger.held_out, challenger.bundle, champion=misled, champion_rows=older
    )
    assert verdict.passed, verdict.text
    assert verdict.high is not None
    assert verdict.high < 0, "surely better, not by chance"
    assert f"beats the champion on {len(pima) - len(older)} rows" in verdict.text


def test_a_candidate_that_is_wrong_about_new_patients_is_refused(
    pima: TrainingSet, older: TrainingSet
) -> None:
    shuffled = relabelled(pima, np.random.default_rng(1).permutation(pima.outcomes))
    misled = train_candidate(shuffled, LEARNER, delta_version=2)
    good = version_of(train_candidate(older, LEARNER, delta_version=1))
    verdict = beats_champion_on_newest_rows(
        pima, misled.held_out, misled.bundle, champion=good, champion_rows=older
    )
    assert not verdict.passed
    assert verdict.text.startswith("failed: beats the champion on")


def test_the_comparison_is_of_squared_errors_row_by_row(
    pima: TrainingSet, older: TrainingSet, challenger: Candidate, misled: ModelVersion
) -> None:
    verdict = beats_champion_on_newest_rows(
        pima, challenger.held_out, challenger.bundle, champion=misled, champion_rows=older
    )
    (brier,) = verdict.differences
    new = new_to(older, pima)
    expected = ((challenger.held_out.probabilities[0] - pima.outcomes) ** 2)[new].mean()
    assert brier.candidate == pytest.approx(expected)
    assert brier.estimate == pytest.approx(brier.candidate - brier.rival)


@pytest.mark.parametrize("new", [0, FEWEST - 1])
def test_with_hardly_a_new_row_the_folds_decide(
    pima: TrainingSet, challenger: Candidate, misled: ModelVersion, new: int
) -> None:
    known = chosen(pima, np.arange(len(pima)) >= new)
    verdict = beats_champion_on_newest_rows(
        pima, challenger.held_out, challenger.bundle, champion=misled, champion_rows=known
    )
    assert verdict.passed
    assert verdict.estimate is None
    assert verdict.text.startswith(f"{new} rows are new to the champion")


def test_new_rows_of_one_outcome_decide_nothing(
    pima: TrainingSet, challenger: Candidate, misled: ModelVersion
) -> None:
    ill = np.flatnonzero(pima.outcomes == 1)[: 2 * FEWEST]
    known = chosen(pima, ~np.isin(np.arange(len(pima)), ill))
    verdict = beats_champion_on_newest_rows(
        pima, challenger.held_out, challenger.bundle, champion=misled, champion_rows=known
    )
    assert verdict.passed
    assert f"{2 * FEWEST} rows are new to the champion, {2 * FEWEST} of them ill" in verdict.text


@pytest.mark.parametrize("says", ["no champion", "the same model", "another contract"])
def test_what_cannot_be_compared_passes_and_says_why(
    pima: TrainingSet, challenger: Candidate, misled: ModelVersion, says: str
) -> None:
    foreign = replace(misled, bundle=replace(misled.bundle, contract_fingerprint="f" * 64))
    champion = {"no champion": None, "the same model": version_of(challenger)}.get(says, foreign)
    verdict = beats_champion_on_newest_rows(
        pima, challenger.held_out, challenger.bundle, champion=champion, champion_rows=None
    )
    assert verdict.passed
    assert verdict.estimate is None


def test_a_corrected_patient_is_no_new_one(pima: TrainingSet) -> None:
    known = by_intake(pima, 3, 77)
    features = pima.features.copy()
    features[3, 1] += 5
    corrected = replace(
        known, features=features, measurement_keys=("new", *known.measurement_keys[1:])
    )
    assert new_to(known, known).sum() == 0
    moved = replace(
        corrected,
        measurement_keys=tuple(
            "new" if row == 3 else key for row, key in enumerate(known.measurement_keys)
        ),
    )
    assert new_to(known, moved).sum() == 0, "her intake is known"
    assert new_to(pima, moved).tolist().count(True) == 1, "where it is not, nobody can tell"
    assert new_to(None, pima).all()
