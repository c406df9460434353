"""Fitting: trees, Platt calibration and decision threshold, the last two on held-out scores."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from diabetes_platform.contract.bundle import Calibration
from diabetes_platform.contract.fields import FEATURE_NAMES, OUTCOME
from diabetes_platform.modelling.folds import assign_folds
from diabetes_platform.modelling.logistic import expit, fit_line
from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.training_set import (
    FloatArray,
    IntArray,
    TrainingSet,
    TrainingSetError,
)

if TYPE_CHECKING:
    import lightgbm


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A model ready to be bundled: LightGBM's text, and how to read its raw scores."""

    model_text: bytes
    calibration: Calibration
    threshold: float


def fit(rows: TrainingSet, recipe: Recipe) -> FittedModel:
    """Fit the trees on all rows, calibration and threshold on their out-of-fold scores.

    The folds are those of the first repeat, so that this is the very procedure which the
    cross-validation judges. The same rows and recipe give the same bytes. Raises TrainingSetError.
    """
    folds = assign_folds(rows, recipe)[0]
    scores = np.empty(len(rows))
    for fold in range(recipe.folds):
        held_out = folds == fold
        trees = train_trees(rows.features[~held_out], rows.outcomes[~held_out], recipe)
        scores[held_out] = raw_scores(trees, rows.features[held_out])
    calibration = platt(scores, rows.outcomes)
    threshold = youden(calibrated(calibration, scores), rows.outcomes)
    trees = train_trees(rows.features, rows.outcomes, recipe)
    return FittedModel(trees.model_to_string().encode(), calibration, threshold)


def train_trees(features: FloatArray, outcomes: IntArray, recipe: Recipe) -> "lightgbm.Booster":
    """Train LightGBM on (rows, features) and (rows,); a missing value stays NaN.

    Raises TrainingSetError where there is one outcome only.
    """
    import lightgbm

    if len(np.unique(outcomes)) < len(OUTCOME.allowed or ()):
        raise TrainingSetError(
            f"{OUTCOME.name}: given {len(outcomes)} rows of one outcome, "
            f"allowed rows of both: {OUTCOME.allowed_text}"
        )
    parameters = recipe.lightgbm_parameters()
    data = lightgbm.Dataset(features, outcomes, feature_name=list(FEATURE_NAMES), params=parameters)
    return lightgbm.train(parameters, data, recipe.num_iterations)


def raw_scores(trees: "lightgbm.Booster", features: FloatArray) -> FloatArray:
    """Return the log-odds before calibration, (rows,)."""
    if not len(features):
        return np.empty(0)
    return np.asarray(trees.predict(features, raw_score=True, num_threads=1), dtype=np.float64)


def platt(scores: FloatArray, outcomes: IntArray) -> Calibration:
    """Fit Platt scaling to out-of-fold raw scores, (rows,), with Platt's smoothed targets.

    Smoothing keeps the slope finite where the scores separate the classes (Platt 1999, Lin, Lin &
    Weng 2007). A negative slope would turn the monotone constraints around: scores that rank
    worse than chance are ignored, and every probability is then the prevalence.
    """
    positives = int(outcomes.sum())
    negatives = len(outcomes) - positives
    high, low = (positives + 1) / (positives + 2), 1 / (negatives + 2)
    targets = np.where(outcomes == 1, high, low)
    slopes, intercepts = fit_line(scores, targets, np.ones((1, len(scores))))
    if slopes[0] > 0:
        return Calibration(float(slopes[0]), float(intercepts[0]))
    return Calibration(0.0, float(np.log(targets.mean() / (1 - targets.mean()))))


def calibrated(calibration: Calibration, scores: FloatArray) -> FloatArray:
    """Return the probabilities of raw scores, (rows,): `Calibration.probability` on an array."""
    return expit(calibration.slope * scores + calibration.intercept)


def youden(probabilities: FloatArray, outcomes: IntArray) -> float:
    """Return the threshold with the highest sensitivity + specificity - 1 (Youden 1950).

    Finding the ill and sparing the healthy weigh the same. A probability at or above the threshold
    is class 1. Of equally good thresholds the lowest is taken, which finds
    more patients; it lies half-way to the next lower probability, so that rounding decides nothing.
    """
    from sklearn.metrics import roc_curve

    false_alarms, found, thresholds = roc_curve(outcomes, probabilities, drop_intermediate=False)
    # The first point of the curve, at infinity, calls nobody ill: it is no threshold.
    index = 1 + np.arange(len(thresholds) - 1)
    gain = (found - false_alarms)[index]
    best = int(index[np.flatnonzero(np.isclose(gain, gain.max(), rtol=0, atol=1e-12))[-1]])
    following = thresholds[best + 1] if best + 1 < len(thresholds) else thresholds[best]
    return float((thresholds[best] + following) / 2)
