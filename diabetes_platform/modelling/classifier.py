"""The classifier: LightGBM trees, Platt scaling, the decision threshold, and `predict_proba`."""

from typing import TYPE_CHECKING

import numpy as np

from diabetes_platform.contract.bundle import MODEL_FILE, Calibration
from diabetes_platform.contract.fields import FEATURE_NAMES, OUTCOME
from diabetes_platform.modelling.logistic import expit, fit_line
from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.store import ModelVersion
from diabetes_platform.modelling.training_set import FloatArray, IntArray, TrainingSetError

if TYPE_CHECKING:
    import lightgbm

PROBABILITY_TOLERANCE = 1e-9
"""The largest difference between two computations of one probability, stored as a double."""


def predict_proba(model: ModelVersion, features: FloatArray) -> FloatArray:
    """Return probabilities (rows,) for `features` (rows, features) in contract order.

    A missing value is NaN. The model gets the columns in the order of its bundle, which may have
    fewer features than the contract. Raises ValueError if the model file has another order, or a
    feature that the contract no longer has.
    """
    import lightgbm

    trees: lightgbm.Booster = lightgbm.Booster(model_str=model.files[MODEL_FILE].decode())
    columns = tuple(trees.feature_name())
    if columns != model.bundle.features:
        raise ValueError(
            f"{MODEL_FILE} has the columns {columns}; the bundle has {model.bundle.features}"
        )
    removed = [name for name in columns if name not in FEATURE_NAMES]
    if removed:
        raise ValueError(
            f"model {model.bundle.model_version} was trained on {', '.join(removed)}, "
            "which is not a feature of the contract"
        )
    order = [FEATURE_NAMES.index(name) for name in model.bundle.features]
    scores = raw_scores(trees, np.ascontiguousarray(features[:, order]))
    return calibrate(model.bundle.calibration, scores)


def train_trees(features: FloatArray, outcomes: IntArray, recipe: Recipe) -> "lightgbm.Booster":
    """Train LightGBM on (rows, features) and (rows,); a missing value stays NaN.

    Raises TrainingSetError if all rows have the same outcome.
    """
    import lightgbm

    if len(np.unique(outcomes)) < len(OUTCOME.allowed or ()):
        raise TrainingSetError(
            f"{OUTCOME.name}: all {len(outcomes)} rows have one outcome; training needs rows of "
            f"both: {OUTCOME.allowed_text}"
        )
    parameters = recipe.lightgbm_parameters()
    data = lightgbm.Dataset(features, outcomes, feature_name=list(FEATURE_NAMES), params=parameters)
    return lightgbm.train(parameters, data, recipe.num_iterations)


def raw_scores(trees: "lightgbm.Booster", features: FloatArray) -> FloatArray:
    """Return the log-odds before calibration, (rows,)."""
    if not len(features):
        return np.empty(0)
    return np.asarray(trees.predict(features, raw_score=True, num_threads=1), dtype=np.float64)


def fit_platt(scores: FloatArray, outcomes: IntArray) -> Calibration:
    """Fit Platt scaling to out-of-fold raw scores, (rows,), with Platt's smoothed targets.

    Smoothing keeps the slope finite if the scores separate the classes (Platt 1999, Lin, Lin &
    Weng 2007). A negative slope would invert the monotone constraints. So if the scores rank worse
    than chance, they are ignored, and every probability is the prevalence.
    """
    positives = int(outcomes.sum())
    negatives = len(outcomes) - positives
    high, low = (positives + 1) / (positives + 2), 1 / (negatives + 2)
    targets = np.where(outcomes == 1, high, low)
    slopes, intercepts = fit_line(scores, targets, np.ones((1, len(scores))))
    if slopes[0] > 0:
        return Calibration(float(slopes[0]), float(intercepts[0]))
    return Calibration(0.0, float(np.log(targets.mean() / (1 - targets.mean()))))


def fit_decision(scores: FloatArray, outcomes: IntArray) -> tuple[Calibration, float]:
    """Fit calibration and decision threshold to out-of-fold raw scores, (rows,)."""
    calibration = fit_platt(scores, outcomes)
    return calibration, youden_threshold(calibrate(calibration, scores), outcomes)


def calibrate(calibration: Calibration, scores: FloatArray) -> FloatArray:
    """Return the probabilities of raw scores, (rows,): `Calibration.probability` on an array."""
    return expit(calibration.slope * scores + calibration.intercept)


def youden_threshold(probabilities: FloatArray, outcomes: IntArray) -> float:
    """Return the threshold with the highest sensitivity + specificity - 1 (Youden 1950).

    A probability at or above the threshold is class 1. Among equally good thresholds, the lowest
    is chosen, because it has the highest sensitivity. The threshold lies half-way to the next lower
    probability, so that rounding changes no decision.
    """
    from sklearn.metrics import roc_curve

    fpr, tpr, thresholds = roc_curve(outcomes, probabilities, drop_intermediate=False)
    # The first point of the curve has an infinite threshold and predicts no positives.
    candidates = 1 + np.arange(len(thresholds) - 1)
    gain = (tpr - fpr)[candidates]
    best = int(candidates[np.flatnonzero(np.isclose(gain, gain.max(), rtol=0, atol=1e-12))[-1]])
    next_lower = thresholds[best + 1] if best + 1 < len(thresholds) else thresholds[best]
    return float((thresholds[best] + next_lower) / 2)
