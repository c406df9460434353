"""Predictions for rows by models that never saw them: the ground of every figure we publish."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from diabetes_platform.modelling.folds import folds_of, told_apart
from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.training import (
    calibrated,
    platt,
    raw_scores,
    train_trees,
    youden,
)
from diabetes_platform.modelling.training_set import BoolArray, FloatArray, IntArray, TrainingSet


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """What was predicted for each row while it was held out; each array is (repeats, rows)."""

    folds: IntArray
    probabilities: FloatArray
    decisions: BoolArray


def cross_validate(
    rows: TrainingSet, folds: IntArray, recipe: Recipe, *, trained_on: TrainingSet | None = None
) -> OutOfFold:
    """Score `rows` fold by fold with models trained on the other folds of `trained_on`.

    `folds` is (repeats, rows) as `assign_folds` gives it. `trained_on` is `rows` itself where it
    is not given; a patient in both is left out of the training for the fold it is scored in.
    Trees, calibration and threshold never see the fold they are judged on. Raises
    TrainingSetError where the rows left to train on have one outcome only.
    """
    count = int(folds.max()) + 1
    source = rows if trained_on is None else told_apart(trained_on, rows)
    source_folds = folds if trained_on is None else folds_of(source, rows, folds, count)
    probabilities = np.empty(folds.shape)
    decisions = np.empty(folds.shape, dtype=np.bool_)
    for repeat, (held_in, known_in) in enumerate(zip(folds, source_folds, strict=True)):
        inner = _inner_scores(source, known_in, recipe, count)
        for fold in range(count):
            known, held_out = known_in != fold, held_in == fold
            trees = train_trees(source.features[known], source.outcomes[known], recipe)
            calibration = platt(inner[fold, known], source.outcomes[known])
            threshold = youden(calibrated(calibration, inner[fold, known]), source.outcomes[known])
            scores = raw_scores(trees, rows.features[held_out])
            probabilities[repeat, held_out] = calibrated(calibration, scores)
            decisions[repeat, held_out] = probabilities[repeat, held_out] >= threshold
    return OutOfFold(folds, probabilities, decisions)


def baseline(rows: TrainingSet, folds: IntArray) -> OutOfFold:
    """Score every row with the prevalence of the other folds: the best answer without a model."""
    probabilities = np.empty(folds.shape)
    for repeat, held_in in enumerate(folds):
        for fold in range(int(folds.max()) + 1):
            held_out = held_in == fold
            probabilities[repeat, held_out] = rows.outcomes[~held_out].mean()
    return OutOfFold(folds, probabilities, decisions=probabilities >= 1 - probabilities)


def _inner_scores(rows: TrainingSet, folds: IntArray, recipe: Recipe, count: int) -> FloatArray:
    """Return (folds, rows): the score of a row by a model that saw neither this fold nor its own.

    The model without folds i and j scores j for the calibration that is judged on i, and i for
    the one that is judged on j: half the fits of an inner cross-validation for each fold.
    """
    scores = np.full((count, len(rows)), np.nan)
    for first, second in combinations(range(count), 2):
        in_first, in_second = folds == first, folds == second
        known = ~(in_first | in_second)
        trees = train_trees(rows.features[known], rows.outcomes[known], recipe)
        scores[first, in_second] = raw_scores(trees, rows.features[in_second])
        scores[second, in_first] = raw_scores(trees, rows.features[in_first])
    return scores
