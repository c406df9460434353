"""Rivals are scored on the same held-out patients, the champion by its recipe on its own rows."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from diabetes_platform.modelling.cross_validation import baseline, by_fold, cross_validate
from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.release_gate import beats_baseline, beats_champion, difference
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


def test_the_real_candidate_beats_the_prevalence(candidate: Candidate, pima: TrainingSet) -> None:
    verdict = beats_baseline(pima, candidate.held_out)
    assert verdict.passed
    assert verdict.estimate is not None
    assert -0.09 < verdict.estimate < -0.05


def test_the_real_candidate_beats_a_clumsy_champion(
    candidate: Candidate, pima: TrainingSet, clumsy: Candidate, older: TrainingSet
) -> None:
    verdict = beats_champion(
        pima, candidate.held_out, candidate.bundle, champion=clumsy.bundle, champion_rows=older
    )
    assert verdict.passed, verdict.text
    assert {each.metric for each in verdict.differences} == {"brier", "auc", "log_loss"}


def test_a_clumsy_candidate_does_not_beat_the_real_champion(
    candidate: Candidate, pima: TrainingSet, clumsy: Candidate, older: TrainingSet
) -> None:
    verdict = beats_champion(
        older, clumsy.held_out, clumsy.bundle, champion=candidate.bundle, champion_rows=pima
    )
    assert not verdict.passed


def test_the_champion_is_judged_by_its_recipe_and_not_by_trees_that_saw_the_patients(
    candidate: Candidate, pima: TrainingSet, clumsy: Candidate, older: TrainingSet
) -> None:
    verdict = beats_champion(
        pima, candidate.held_out, candidate.bundle, champion=clumsy.bundle, champion_rows=older
    )
    rival = cross_validate(pima, candidate.held_out.folds, CLUMSY, trained_on=older)
    brier = next(each for each in verdict.differences if each.metric == "brier")
    assert brier.rival == pytest.approx(by_fold("brier", pima, rival).mean())


def test_the_champion_that_comes_again_passes_without_a_new_comparison(
    candidate: Candidate, pima: TrainingSet
) -> None:
    same = replace(candidate.bundle, model_version="another name")
    verdict = beats_champion(
        pima, candidate.held_out, candidate.bundle, champion=same, champion_rows=None
    )
    assert verdict.passed
    assert verdict.text == "is the champion already (another name)"


def test_without_a_champion_the_baseline_decides(candidate: Candidate, pima: TrainingSet) -> None:
    verdict = beats_champion(
        pima, candidate.held_out, candidate.bundle, champion=None, champion_rows=None
    )
    assert verdict.passed
    assert "no champion yet" in verdict.text


def test_a_champion_whose_recipe_is_of_another_version_cannot_be_compared(
    pima: TrainingSet, candidate: Candidate, clumsy: Candidate
) -> None:
    training = {**clumsy.bundle.training, "recipe": {"leaves": 7}}
    old = replace(clumsy.bundle, training=training)

    verdict = beats_champion(
        pima, candidate.held_out, candidate.bundle, champion=old, champion_rows=pima
    )

    assert verdict.passed
    assert "cannot be trained again" in verdict.text


def test_a_champion_of_another_contract_cannot_be_compared(
    candidate: Candidate, pima: TrainingSet, clumsy: Candidate
) -> None:
    foreign = replace(clumsy.bundle, contract_fingerprint="0" * 64)
    verdict = beats_champion(
        pima, candidate.held_out, candidate.bundle, champion=foreign, champion_rows=None
    )
    assert verdict.passed
    assert "contract 000000000000" in verdict.text


def test_the_champion_needs_the_very_rows_that_it_was_trained_on(
    candidate: Candidate, pima: TrainingSet, clumsy: Candidate
) -> None:
    for rows, message in [(None, "given none, allowed Delta version 1"), (pima, "content hash")]:
        with pytest.raises(TrainingSetError, match=message):
            beats_champion(
                pima,
                candidate.held_out,
                candidate.bundle,
                champion=clumsy.bundle,
                champion_rows=rows,
            )


def test_the_interval_is_the_corrected_resampled_t(candidate: Candidate, pima: TrainingSet) -> None:
    rival = baseline(pima, candidate.held_out.folds)
    found = difference("brier", pima, candidate.held_out, rival)
    each = by_fold("brier", pima, candidate.held_out) - by_fold("brier", pima, rival)
    naive = stats.t.interval(0.95, len(each) - 1, each.mean(), stats.sem(each))
    correction = np.sqrt(1 + len(each) * 0.25)  # 1/n becomes 1/n + test rows / training rows
    assert found.estimate == pytest.approx(each.mean())
    assert found.high - found.estimate == pytest.approx((naive[1] - each.mean()) * correction)
    assert found.estimate - found.low == pytest.approx(found.high - found.estimate)
