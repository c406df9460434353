"""The classifier: LightGBM trees, Platt scaling, decision threshold and `predict_proba`."""

from typing import TYPE_CHECKING

import numpy as np

from diabetes_platform.contract.bundle import MODEL_FILE, Calibration
from diabetes_platform.contract.fields import FEATURE_NAMES, OUTCOME
from diabetes_platform.modelling.logistic import expit, fit_line
from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.store import ModelVersion
from diabetes_platform.modelling.training_set import (
    FloatArray,
    IntArray,
    TrainingSetError,
    numeric_column,
)

if TYPE_CHECKING:
    import lightgbm
    import pyarrow as pa

SAME = 1e-9
"""So much may a probability differ that was computed twice and stored as a double."""


def answers(model: ModelVersion, features: FloatArray) -> FloatArray:
    """Return the probability, (rows,), of (rows, features) in contract order, NaN where missing.

    The columns go in the order of the bundle, which must be that of the model's own text:
    ValueError where it is not.
    """
    import lightgbm

    trees: lightgbm.Booster = lightgbm.Booster(model_str=model.files[MODEL_FILE].decode())
    named = tuple(trees.feature_name())
    if named != model.bundle.features:
        raise ValueError(
            f"columns of {MODEL_FILE}: given {named}, allowed those of the bundle: "
            f"{model.bundle.features}"
        )
    order = [FEATURE_NAMES.index(name) for name in model.bundle.features]
    scores = raw_scores(trees, np.ascontiguousarray(features[:, order]))
    return calibrated(model.bundle.calibration, scores)


def feature_matrix(table: "pa.Table") -> FloatArray:
    """Return the measurements of a table, (rows, features) in contract order, NaN where NULL."""
    return np.column_stack([numeric_column(table, name) for name in FEATURE_NAMES])


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
