"""Comparisons with baseline and champion on the same held-out patients."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from diabetes_platform.modelling.cross_validation import (
    cross_validate,
    metric_by_fold,
    prevalence_baseline,
)
from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.release_gate import (
    evaluate_against_baseline,
    evaluate_against_champion,
    metric_difference,
)
from diabetes_platform.modelling.training import Candidate, train_candidate
from diabetes_platform.modelling.training_set import TrainingSet, TrainingSetError
from diabetes_platform_tests.modelling.patients import chosen

CLUMSY = Recipe(num_iterations=40, learning_rate=0.5, num_leaves=31, lambda_l2=0.0, repeats=1)


@pytest.fixture(scope="module")
def older(pima: TrainingSet) -> TrainingSet:
    return chosen(pima, np.arange(len(pima)) % 4 > 0)


@pytest.fixture(scope="module")
def clumsy(older: TrainingSet) -> Candidate:
    return train_candidate(older, CLUMSY, delta_version=1)


def test_the_default_candidate_beats_the_prevalence(
    candidate: Candidate, pima: TrainingSet
) -> None:
    result = evaluate_against_baseline(pima, candidate.out_of_fold)
    assert result.passed
    assert result.estimate is not None
    assert -0.09 < result.estimate < -0.05


def test_the_default_candidate_beats_an_overfitted_champion(
    candidate: Candidate, pima: TrainingSet, clumsy: Candidate, older: TrainingSet
) -> None:
    result = evaluate_against_champion(
        pima, candidate.out_of_fold, candidate.bundle, champion=clumsy.bundle, champion_rows=older
    )
    assert result.passed, result.text
    assert {difference.metric for difference in result.differences} == {"brier", "auc", "log_loss"}


def test_an_overfitted_candidate_does_not_beat_the_default_champion(
    candidate: Candidate, pima: TrainingSet, clumsy: Candidate, older: TrainingSet
) -> None:
    result = evaluate_against_champion(
        older, clumsy.out_of_fold, clumsy.bundle, champion=candidate.bundle, champion_rows=pima
    )
    assert not result.passed


def test_the_champion_is_refitted_without_the_scored_patients(
    candidate: Candidate, pima: TrainingSet, clumsy: Candidate, older: TrainingSet
) -> None:
    result = evaluate_against_champion(
        pima, candidate.out_of_fold, candidate.bundle, champion=clumsy.bundle, champion_rows=older
    )
    rival = cross_validate(pima, candidate.out_of_fold.folds, CLUMSY, trained_on=older)
    brier = next(diff for diff in result.differences if diff.metric == "brier")
    assert brier.rival == pytest.approx(metric_by_fold("brier", pima, rival).mean())


def test_a_candidate_identical_to_the_champion_passes(
    candidate: Candidate, pima: TrainingSet
) -> None:
    same = replace(candidate.bundle, model_version="another name")
    result = evaluate_against_champion(
        pima, candidate.out_of_fold, candidate.bundle, champion=same, champion_rows=None
    )
    assert result.passed
    assert result.estimate is None
    assert result.text == "is the champion already (another name)"


def test_passes_without_a_champion(candidate: Candidate, pima: TrainingSet) -> None:
    result = evaluate_against_champion(
        pima, candidate.out_of_fold, candidate.bundle, champion=None, champion_rows=None
    )
    assert result.passed
    assert (result.estimate, result.low, result.high) == (None, None, None)
    assert "no champion yet" in result.text


def test_passes_if_the_champions_recipe_is_unreadable(
    pima: TrainingSet, candidate: Candidate, clumsy: Candidate
) -> None:
    training = {**clumsy.bundle.training, "recipe": {"leaves": 7}}
    old = replace(clumsy.bundle, training=training)

    result = evaluate_against_champion(
        pima, candidate.out_of_fold, candidate.bundle, champion=old, champion_rows=pima
    )

    assert result.passed
    assert "cannot be trained again" in result.text


def test_passes_if_the_champion_has_another_contract(
    candidate: Candidate, pima: TrainingSet, clumsy: Candidate
) -> None:
    foreign = replace(clumsy.bundle, contract_fingerprint="0" * 64)
    result = evaluate_against_champion(
        pima, candidate.out_of_fold, candidate.bundle, champion=foreign, champion_rows=None
    )
    assert result.passed
    assert result.estimate is None
    assert "contract 000000000000" in result.text


def test_rejects_other_rows_than_the_champion_was_trained_on(
    candidate: Candidate, pima: TrainingSet, clumsy: Candidate
) -> None:
    for rows, message in [
        (None, "Delta version 1, is required"),
        (pima, "content hash"),
    ]:
        with pytest.raises(TrainingSetError, match=message):
            evaluate_against_champion(
                pima,
                candidate.out_of_fold,
                candidate.bundle,
                champion=clumsy.bundle,
                champion_rows=rows,
            )


def test_the_interval_is_the_corrected_resampled_t(candidate: Candidate, pima: TrainingSet) -> None:
    rival = prevalence_baseline(pima, candidate.out_of_fold.folds)
    result = metric_difference("brier", pima, candidate.out_of_fold, rival)
    by_fold = metric_by_fold("brier", pima, candidate.out_of_fold)
    paired = by_fold - metric_by_fold("brier", pima, rival)
    naive = stats.t.interval(0.95, len(paired) - 1, paired.mean(), stats.sem(paired))
    correction = np.sqrt(1 + len(paired) * 0.25)  # 1/n becomes 1/n + test rows / training rows
    assert result.estimate == pytest.approx(paired.mean())
    assert result.high - result.estimate == pytest.approx((naive[1] - paired.mean()) * correction)
    assert result.estimate - result.low == pytest.approx(result.high - result.estimate)
