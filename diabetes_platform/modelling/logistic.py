"""Logistic regression of one variable by Newton's method, for Platt scaling and its diagnosis.

scikit-learn's regression has neither soft targets nor an offset, and fits one set of weights per
call, while the bootstrap needs hundreds.
"""

import numpy as np

from diabetes_platform.modelling.training_set import FloatArray

_STEPS = 200
_LONGEST_STEP = 4.0
_RIDGE = 1e-6
_TOLERANCE = 1e-9


def expit(logits: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-logits)) without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def fit_line(
    x: FloatArray, targets: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Fit logit(target) = slope * x + intercept for each row of `weights`.

    `x` and `targets` (in 0..1) are (rows,), `weights` (fits, rows); returns slopes and intercepts,
    each (fits,). A small ridge penalty on the slope keeps constant and separated data
    finite. Raises ArithmeticError if Newton's method does not converge.
    """
    centre, scale = float(x.mean()), float(x.std()) or 1.0
    z = (x - centre) / scale
    total = weights.sum(axis=1)
    share = (weights @ targets) / total
    slope, intercept = np.zeros(len(weights)), np.log(share / (1 - share))
    for _ in range(_STEPS):
        p = expit(slope[:, None] * z + intercept[:, None])
        residual, curvature = weights * (targets - p), weights * p * (1 - p)
        gradient_slope = residual @ z - _RIDGE * total * slope
        gradient_intercept = residual.sum(axis=1)
        h_ss = curvature @ (z * z) + _RIDGE * total
        h_si, h_ii = curvature @ z, curvature.sum(axis=1) + _RIDGE * total
        determinant = h_ss * h_ii - h_si * h_si
        step_slope = (h_ii * gradient_slope - h_si * gradient_intercept) / determinant
        step_intercept = (h_ss * gradient_intercept - h_si * gradient_slope) / determinant
        longest = np.maximum(np.abs(step_slope), np.abs(step_intercept))
        # Both steps are shortened by the same factor: another direction could increase the loss.
        factor = np.minimum(1.0, _LONGEST_STEP / np.maximum(longest, _TOLERANCE))
        slope, intercept = slope + factor * step_slope, intercept + factor * step_intercept
        if longest.max() < _TOLERANCE:
            return slope / scale, intercept - slope * centre / scale
    raise ArithmeticError(f"logistic regression: not converged after {_STEPS} steps")


def fit_intercept(offset: FloatArray, targets: FloatArray, weights: FloatArray) -> FloatArray:
    """Fit logit(target) = offset + intercept for each row of `weights`; returns (fits,).

    Shapes and errors as in `fit_line`.
    """
    intercept: FloatArray = np.zeros(len(weights))
    for _ in range(_STEPS):
        p = expit(offset + intercept[:, None])
        gradient = (weights * (targets - p)).sum(axis=1)
        step = gradient / (weights * p * (1 - p)).sum(axis=1)
        intercept = intercept + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < _TOLERANCE:
            return intercept
    raise ArithmeticError(f"logistic regression: not converged after {_STEPS} steps")
