"""Trees, calibration and threshold never see the fold they are evaluated on."""

import math

import numpy as np
import pytest

from diabetes_platform.modelling.cross_validation import (
    OutOfFold,
    assign_folds,
    cross_validate,
    prevalence_baseline,
)
from diabetes_platform.modelling.evaluation_metrics import auc
from diabetes_platform.modelling.training_set import (
    BoolArray,
    IntArray,
    TrainingSet,
    TrainingSetError,
)
from diabetes_platform_tests.modelling.patients import SMALL, chosen, relabelled, remeasured


@pytest.fixture(scope="module")
def folds(pima: TrainingSet) -> IntArray:
    return assign_folds(pima, SMALL)


@pytest.fixture(scope="module")
def out_of_fold(pima: TrainingSet, folds: IntArray) -> OutOfFold:
    return cross_validate(pima, folds, SMALL)


def same_inside(left: OutOfFold, right: OutOfFold, members: BoolArray) -> bool:
    return bool(
        (left.probabilities[0, members] == right.probabilities[0, members]).all()
        and (left.decisions[0, members] == right.decisions[0, members]).all()
    )


@pytest.mark.parametrize("fold", range(SMALL.folds))
def test_predictions_of_a_fold_do_not_depend_on_its_outcomes(
    pima: TrainingSet, folds: IntArray, out_of_fold: OutOfFold, fold: int
) -> None:
    inside = folds[0] == fold
    outcomes = np.where(inside, 1 - pima.outcomes, pima.outcomes)
    changed = cross_validate(relabelled(pima, outcomes), folds, SMALL)
    assert same_inside(changed, out_of_fold, inside)
    assert not same_inside(changed, out_of_fold, ~inside)


@pytest.mark.parametrize("fold", range(SMALL.folds))
def test_predictions_of_a_fold_do_not_depend_on_its_other_measurements(
    pima: TrainingSet, folds: IntArray, out_of_fold: OutOfFold, fold: int
) -> None:
    inside = folds[0] == fold
    row = np.flatnonzero(inside)[0]
    glucose = pima.features[:, 1].copy()
    glucose[inside & (np.arange(len(pima)) != row)] = math.nan
    changed = cross_validate(remeasured(pima, "glucose", glucose), folds, SMALL)
    assert changed.probabilities[0, row] == out_of_fold.probabilities[0, row]
    assert changed.decisions[0, row] == out_of_fold.decisions[0, row]


def test_a_leaking_column_in_the_held_out_fold_does_not_help(
    pima: TrainingSet, folds: IntArray
) -> None:
    inside = folds[0] == 0
    betrayed = remeasured(pima, "insulin", np.where(inside, pima.outcomes, math.nan))
    silent = remeasured(pima, "insulin", math.nan)
    assert same_inside(
        cross_validate(betrayed, folds, SMALL), cross_validate(silent, folds, SMALL), inside
    )


def test_a_leaking_column_in_all_folds_is_used(pima: TrainingSet, folds: IntArray) -> None:
    """The counterpart: the tests above would see a leak if there were one."""
    betrayed = remeasured(pima, "insulin", pima.outcomes)
    predictions = cross_validate(betrayed, folds, SMALL)
    assert auc(predictions.probabilities[0], pima.outcomes, np.ones((1, len(pima))))[0] > 0.99


def test_a_champion_is_not_trained_on_the_patients_of_the_scored_fold(
    pima: TrainingSet, folds: IntArray
) -> None:
    inside = folds[0] == 1
    older = chosen(pima, np.arange(len(pima)) % 3 > 0)
    keys = {key for key, member in zip(pima.measurement_keys, inside, strict=True) if member}
    shared = np.array([key in keys for key in older.measurement_keys])
    lied_about = relabelled(older, np.where(shared, 1 - older.outcomes, older.outcomes))
    honest = cross_validate(pima, folds, SMALL, trained_on=older)
    assert shared.any()
    assert same_inside(cross_validate(pima, folds, SMALL, trained_on=lied_about), honest, inside)


def test_a_champion_with_the_same_rows_and_recipe_predicts_identically(
    pima: TrainingSet, folds: IntArray, out_of_fold: OutOfFold
) -> None:
    rescored = cross_validate(pima, folds, SMALL, trained_on=pima)
    np.testing.assert_array_equal(rescored.probabilities, out_of_fold.probabilities)
    np.testing.assert_array_equal(rescored.decisions, out_of_fold.decisions)


def test_a_champion_of_disjoint_patients_is_trained_on_all_of_them(pima: TrainingSet) -> None:
    newer = chosen(pima, np.arange(len(pima)) < 200)
    older = chosen(pima, np.arange(len(pima)) >= 200)
    scored = cross_validate(newer, assign_folds(newer, SMALL), SMALL, trained_on=older)
    assert auc(scored.probabilities[0], newer.outcomes, np.ones((1, 200)))[0] > 0.7


def test_a_champion_without_patients_of_a_fold_is_scored_on_it(
    pima: TrainingSet, folds: IntArray
) -> None:
    inside = folds[0] == 0
    scored = cross_validate(pima, folds, SMALL, trained_on=chosen(pima, ~inside))
    weights = inside[None, :].astype(np.float64)
    assert auc(scored.probabilities[0], pima.outcomes, weights)[0] > 0.7


def test_rejects_a_champion_whose_training_rows_have_one_outcome(
    pima: TrainingSet, folds: IntArray
) -> None:
    healthy = chosen(pima, pima.outcomes == 0)
    with pytest.raises(TrainingSetError, match="rows have one outcome"):
        cross_validate(pima, folds, SMALL, trained_on=healthy)


def test_the_baseline_is_the_prevalence_of_the_other_folds(
    pima: TrainingSet, folds: IntArray
) -> None:
    predictions = prevalence_baseline(pima, folds)
    inside = folds[0] == 2
    assert set(predictions.probabilities[0, inside]) == {pima.outcomes[~inside].mean()}
    assert not predictions.decisions.any()
