"""Measures of a risk model, each for many weightings of the same rows at once.

Every function takes probabilities (rows,) in 0..1, outcomes (rows,) of 0 and 1 and weights
(fits, rows), and returns (fits,). A weighting is a bootstrap sample: how often it drew each row.
scikit-learn's own take one weighting a call, which makes a bootstrap many times slower.
"""

from collections.abc import Callable

import numpy as np

from diabetes_platform.modelling.logistic import fit_intercept, fit_line
from diabetes_platform.modelling.training_set import BoolArray, FloatArray, IntArray

_SMALLEST_PROBABILITY = 1e-12

Measure = Callable[[FloatArray, IntArray, FloatArray], FloatArray]


def auc(probabilities: FloatArray, outcomes: IntArray, weights: FloatArray) -> FloatArray:
    """The area under the ROC curve: a tie counts one half."""
    order = np.argsort(probabilities, kind="stable")
    ranked = probabilities[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    ill = np.add.reduceat((weights * outcomes)[:, order], starts, axis=1)
    healthy = np.add.reduceat((weights * (1 - outcomes))[:, order], starts, axis=1)
    below = np.cumsum(healthy, axis=1) - healthy
    won = (ill * (below + 0.5 * healthy)).sum(axis=1)
    return np.asarray(won / (ill.sum(axis=1) * healthy.sum(axis=1)))


def brier(probabilities: FloatArray, outcomes: IntArray, weights: FloatArray) -> FloatArray:
    """The mean squared error of the probability."""
    return _mean((probabilities - outcomes) ** 2, weights)


def log_loss(probabilities: FloatArray, outcomes: IntArray, weights: FloatArray) -> FloatArray:
    """The mean negative log likelihood, in nats; a probability of 0 or 1 counts as 1e-12 off."""
    p = _inside(probabilities)
    losses = -np.where(outcomes == 1, np.log(p), np.log1p(-p))
    return _mean(losses, weights)


def calibration_slope(
    probabilities: FloatArray, outcomes: IntArray, weights: FloatArray
) -> FloatArray:
    """The slope of the outcome on the logit: 1 is ideal, below 1 the risks are too extreme."""
    return fit_line(_logit(probabilities), outcomes.astype(np.float64), weights)[0]


def calibration_intercept(
    probabilities: FloatArray, outcomes: IntArray, weights: FloatArray
) -> FloatArray:
    """Calibration in the large, at slope 1: 0 is ideal, above 0 the risks are too low."""
    return fit_intercept(_logit(probabilities), outcomes.astype(np.float64), weights)


def sensitivity(decisions: BoolArray, outcomes: IntArray, weights: FloatArray) -> FloatArray:
    """The share of the ill that the decision finds."""
    return _mean(decisions.astype(np.float64), weights * outcomes)


def specificity(decisions: BoolArray, outcomes: IntArray, weights: FloatArray) -> FloatArray:
    """The share of the healthy that the decision spares."""
    return sensitivity(~decisions, 1 - outcomes, weights)


def _mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    return np.asarray(weights @ values / weights.sum(axis=1))


def _inside(probabilities: FloatArray) -> FloatArray:
    return np.clip(probabilities, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)


def _logit(probabilities: FloatArray) -> FloatArray:
    p = _inside(probabilities)
    return np.asarray(np.log(p) - np.log1p(-p))


OF_PROBABILITY: dict[str, Measure] = {
    "auc": auc,
    "brier": brier,
    "log_loss": log_loss,
    "calibration_slope": calibration_slope,
    "calibration_intercept": calibration_intercept,
}
OF_DECISION: dict[str, Callable[[BoolArray, IntArray, FloatArray], FloatArray]] = {
    "sensitivity": sensitivity,
    "specificity": specificity,
}
OF_FOLD = ("auc", "brier", "log_loss")
"""The measures that a single fold is large enough for, next to those of the decision."""
