"""Vectorised metrics of a risk model for many bootstrap samples at once.

Every function takes probabilities (rows,) in 0..1, outcomes (rows,) of 0 and 1 and weights
(samples, rows), and returns (samples,). Weights count how often a sample drew each row.
scikit-learn's metrics take one sample per call, which makes a bootstrap many times slower.
"""

from collections.abc import Callable

import numpy as np

from diabetes_platform.modelling.logistic import fit_intercept, fit_line
from diabetes_platform.modelling.training_set import BoolArray, FloatArray, IntArray

_SMALLEST_PROBABILITY = 1e-12

Metric = Callable[[FloatArray, IntArray, FloatArray], FloatArray]


def auc(probabilities: FloatArray, outcomes: IntArray, weights: FloatArray) -> FloatArray:
    """Return the area under the ROC curve; a tie counts as one half."""
    order = np.argsort(probabilities, kind="stable")
    ranked = probabilities[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    positives = np.add.reduceat((weights * outcomes)[:, order], starts, axis=1)
    negatives = np.add.reduceat((weights * (1 - outcomes))[:, order], starts, axis=1)
    negatives_below = np.cumsum(negatives, axis=1) - negatives
    concordant = (positives * (negatives_below + 0.5 * negatives)).sum(axis=1)
    return np.asarray(concordant / (positives.sum(axis=1) * negatives.sum(axis=1)))


def brier(probabilities: FloatArray, outcomes: IntArray, weights: FloatArray) -> FloatArray:
    """Return the mean squared error of the probability."""
    return _mean((probabilities - outcomes) ** 2, weights)


def log_loss(probabilities: FloatArray, outcomes: IntArray, weights: FloatArray) -> FloatArray:
    """Return the mean negative log likelihood in nats; probabilities are clipped to 1e-12."""
    p = _clip(probabilities)
    losses = -np.where(outcomes == 1, np.log(p), np.log1p(-p))
    return _mean(losses, weights)


def calibration_slope(
    probabilities: FloatArray, outcomes: IntArray, weights: FloatArray
) -> FloatArray:
    """Return the calibration slope: 1 is ideal; below 1, the risks are too extreme."""
    return fit_line(_logit(probabilities), outcomes.astype(np.float64), weights)[0]


def calibration_intercept(
    probabilities: FloatArray, outcomes: IntArray, weights: FloatArray
) -> FloatArray:
    """Return calibration in the large, at slope 1: 0 is ideal; above 0, the risks are too low."""
    return fit_intercept(_logit(probabilities), outcomes.astype(np.float64), weights)


def sensitivity(decisions: BoolArray, outcomes: IntArray, weights: FloatArray) -> FloatArray:
    """Return the true positive rate."""
    return _mean(decisions.astype(np.float64), weights * outcomes)


def specificity(decisions: BoolArray, outcomes: IntArray, weights: FloatArray) -> FloatArray:
    """Return the true negative rate."""
    return sensitivity(~decisions, 1 - outcomes, weights)


def _mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    return np.asarray(weights @ values / weights.sum(axis=1))


def _clip(probabilities: FloatArray) -> FloatArray:
    return np.clip(probabilities, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)


def _logit(probabilities: FloatArray) -> FloatArray:
    p = _clip(probabilities)
    return np.asarray(np.log(p) - np.log1p(-p))


PROBABILITY_METRICS: dict[str, Metric] = {
    "auc": auc,
    "brier": brier,
    "log_loss": log_loss,
    "calibration_slope": calibration_slope,
    "calibration_intercept": calibration_intercept,
}
DECISION_METRICS: dict[str, Callable[[BoolArray, IntArray, FloatArray], FloatArray]] = {
    "sensitivity": sensitivity,
    "specificity": specificity,
}
