"""Nothing that is judged on a fold has seen it: not trees, not calibration, not threshold."""

import math

import numpy as np
import pytest

from diabetes_platform.modelling.cross_validation import (
    OutOfFold,
    assign_folds,
    baseline,
    cross_validate,
)
from diabetes_platform.modelling.metrics import auc
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
def held_out(pima: TrainingSet, folds: IntArray) -> OutOfFold:
    return cross_validate(pima, folds, SMALL)


def same_inside(left: OutOfFold, right: OutOfFold, members: BoolArray) -> bool:
    return bool(
        (left.probabilities[0, members] == right.probabilities[0, members]).all()
        and (left.decisions[0, members] == right.decisions[0, members]).all()
    )


@pytest.mark.parametrize("fold", range(SMALL.folds))
def test_a_fold_is_answered_alike_whatever_its_outcomes_are(
    pima: TrainingSet, folds: IntArray, held_out: OutOfFold, fold: int
) -> None:
    inside = folds[0] == fold
    outcomes = np.where(inside, 1 - pima.outcomes, pima.outcomes)
    changed = cross_validate(relabelled(pima, outcomes), folds, SMALL)
    assert same_inside(changed, held_out, inside)
    assert not same_inside(changed, held_out, ~inside)


@pytest.mark.parametrize("fold", range(SMALL.folds))
def test_the_measurements_of_a_fold_are_not_seen_either(
    pima: TrainingSet, folds: IntArray, held_out: OutOfFold, fold: int
) -> None:
    inside = folds[0] == fold
    one = np.flatnonzero(inside)[0]
    glucose = pima.features[:, 1].copy()
    glucose[inside & (np.arange(len(pima)) != one)] = math.nan
    changed = cross_validate(remeasured(pima, "glucose", glucose), folds, SMALL)
    assert changed.probabilities[0, one] == held_out.probabilities[0, one]
    assert changed.decisions[0, one] == held_out.decisions[0, one]


def test_a_column_that_betrays_the_outcome_in_the_held_out_fold_only_is_worth_nothing(
    pima: TrainingSet, folds: IntArray
) -> None:
    inside = folds[0] == 0
    betrayed = remeasured(pima, "insulin", np.where(inside, pima.outcomes, math.nan))
    silent = remeasured(pima, "insulin", math.nan)
    assert same_inside(
        cross_validate(betrayed, folds, SMALL), cross_validate(silent, folds, SMALL), inside
    )


def test_a_column_that_betrays_the_outcome_everywhere_is_found(
    pima: TrainingSet, folds: IntArray
) -> None:
    """The counterpart: the tests above would see a leak if there were one."""
    betrayed = remeasured(pima, "insulin", pima.outcomes)
    found = cross_validate(betrayed, folds, SMALL)
    assert auc(found.probabilities[0], pima.outcomes, np.ones((1, len(pima))))[0] > 0.99


def test_a_champion_is_not_trained_on_the_patients_it_is_scored_on(
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


def test_a_champion_of_the_same_rows_and_recipe_gives_the_same_answers(
    pima: TrainingSet, folds: IntArray, held_out: OutOfFold
) -> None:
    again = cross_validate(pima, folds, SMALL, trained_on=pima)
    np.testing.assert_array_equal(again.probabilities, held_out.probabilities)
    np.testing.assert_array_equal(again.decisions, held_out.decisions)


def test_a_champion_that_knows_other_patients_only_keeps_them_all(pima: TrainingSet) -> None:
    newer = chosen(pima, np.arange(len(pima)) < 200)
    older = chosen(pima, np.arange(len(pima)) >= 200)
    scored = cross_validate(newer, assign_folds(newer, SMALL), SMALL, trained_on=older)
    assert auc(scored.probabilities[0], newer.outcomes, np.ones((1, 200)))[0] > 0.7


def test_a_champion_that_knows_nobody_of_a_fold_is_scored_there_all_the_same(
    pima: TrainingSet, folds: IntArray
) -> None:
    inside = folds[0] == 0
    scored = cross_validate(pima, folds, SMALL, trained_on=chosen(pima, ~inside))
    weights = inside[None, :].astype(np.float64)
    assert auc(scored.probabilities[0], pima.outcomes, weights)[0] > 0.7


def test_a_champion_left_with_one_outcome_is_refused(pima: TrainingSet, folds: IntArray) -> None:
    healthy = chosen(pima, pima.outcomes == 0)
    with pytest.raises(TrainingSetError, match="rows of one outcome"):
        cross_validate(pima, folds, SMALL, trained_on=healthy)


def test_the_baseline_is_the_prevalence_of_the_other_folds(
    pima: TrainingSet, folds: IntArray
) -> None:
    found = baseline(pima, folds)
    inside = folds[0] == 2
    assert set(found.probabilities[0, inside]) == {pima.outcomes[~inside].mean()}
    assert not found.decisions.any()
