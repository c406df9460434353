"""Published metrics: right for the Pima patients, worthless for shuffled outcomes."""

import numpy as np
import pytest

from diabetes_platform.modelling.cross_validation import (
    OutOfFold,
    assign_folds,
    cross_validate,
    evaluate,
    metric_by_fold,
)
from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.release_gate import evaluate_against_baseline
from diabetes_platform.modelling.training import Candidate
from diabetes_platform.modelling.training_set import TrainingSet, training_set
from diabetes_platform_tests.modelling.patients import relabelled


@pytest.mark.parametrize(
    ("metric", "low", "high"),
    [
        ("auc", 0.81, 0.86),
        ("brier", 0.145, 0.170),
        ("log_loss", 0.44, 0.51),
        ("sensitivity", 0.65, 0.88),
        ("specificity", 0.62, 0.85),
        ("calibration_slope", 0.8, 1.2),
        ("calibration_intercept", -0.15, 0.15),
    ],
)
def test_metrics_of_the_pima_patients_lie_in_the_published_range(
    candidate: Candidate, metric: str, low: float, high: float
) -> None:
    """Bounds around what earlier ten-fold runs gave (AUC .836, Brier .157), for any seed."""
    estimate = candidate.metrics[metric]
    assert low < estimate.value < high
    assert estimate.low < estimate.value < estimate.high


def test_the_width_of_the_auc_interval_matches_theory(candidate: Candidate) -> None:
    """Hanley & McNeil (1982): the standard error at 0.84 with 268 and 500 patients is 0.016."""
    auc = candidate.metrics["auc"]
    assert 0.04 < auc.high - auc.low < 0.08


def test_the_same_seed_gives_the_same_intervals(candidate: Candidate, pima: TrainingSet) -> None:
    first, second = (evaluate(pima, candidate.out_of_fold, seed=3) for _ in range(2))
    assert first == second
    other = evaluate(pima, candidate.out_of_fold, seed=4)
    assert other["auc"].value == first["auc"].value
    assert other["auc"].low != first["auc"].low


def test_shuffled_outcomes_give_an_auc_of_one_half_and_fail_the_gate(
    pima: TrainingSet,
) -> None:
    recipe = Recipe(num_iterations=60, learning_rate=0.1, repeats=2)
    outcomes = np.random.default_rng(11).permutation(pima.outcomes)
    rows = relabelled(pima, outcomes)
    predictions = cross_validate(rows, assign_folds(rows, recipe), recipe)
    assert metric_by_fold("auc", rows, predictions).mean() == pytest.approx(0.5, abs=0.05)
    assert not evaluate_against_baseline(rows, predictions).passed


def test_the_bootstrap_draws_records_of_one_patient_together(
    candidate: Candidate, pima: TrainingSet
) -> None:
    """Every patient written down twice is no more knowledge: the interval keeps its width."""
    features, outcomes = np.tile(pima.features, (2, 1)), np.tile(pima.outcomes, 2)
    twice = training_set(features, outcomes, [f"a-{line}" for line in range(len(outcomes))])
    position = {key: row for row, key in enumerate(pima.measurement_keys)}
    rows = [position[key] for key in twice.measurement_keys]
    predictions = candidate.out_of_fold
    repeated = OutOfFold(
        predictions.folds[:, rows],
        predictions.probabilities[:, rows],
        predictions.decisions[:, rows],
    )
    doubled = evaluate(twice, repeated, seed=3)["brier"]
    single = evaluate(pima, predictions, seed=3)["brier"]
    assert doubled.value == pytest.approx(single.value)
    assert doubled.high - doubled.low == pytest.approx(single.high - single.low, rel=0.1)
