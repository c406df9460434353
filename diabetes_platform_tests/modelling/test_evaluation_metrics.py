"""Metrics agree with scikit-learn for every weighting, ties included."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, recall_score, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from diabetes_platform.modelling import evaluation_metrics as metrics
from diabetes_platform.modelling.logistic import expit

RANDOM = np.random.default_rng(8)
P = RANDOM.uniform(0.02, 0.98, 30_000).round(2)
Y = (RANDOM.uniform(size=30_000) < P).astype(np.int64)
WEIGHTS = RANDOM.integers(0, 4, (4, 30_000)).astype(np.float64)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (metrics.auc, roc_auc_score),
        (metrics.brier, brier_score_loss),
        (metrics.log_loss, sklearn_log_loss),
    ],
)
def test_probability_metrics_agree_with_scikit_learn(
    ours: metrics.Metric, theirs: Callable[..., Any]
) -> None:
    expected = [theirs(Y, P, sample_weight=weights) for weights in WEIGHTS]
    np.testing.assert_allclose(ours(P, Y, WEIGHTS), expected, rtol=1e-10)


def test_decision_metrics_agree_with_scikit_learn() -> None:
    sensitivities = [recall_score(Y, P >= 0.3, sample_weight=weights) for weights in WEIGHTS]
    specificities = [recall_score(1 - Y, P < 0.3, sample_weight=weights) for weights in WEIGHTS]
    np.testing.assert_allclose(metrics.sensitivity(P >= 0.3, Y, WEIGHTS), sensitivities)
    np.testing.assert_allclose(metrics.specificity(P >= 0.3, Y, WEIGHTS), specificities)


@pytest.mark.parametrize(
    ("factor", "shift", "slope", "intercept"),
    [(1, 0, 1, 0), (2, 0, 0.5, 0), (0.5, 0, 2, 0), (1, 1, 1, -1)],
    ids=["calibrated", "too extreme", "too timid", "too high"],
)
def test_calibration_slope_and_intercept_recover_the_distortion(
    factor: float, shift: float, slope: float, intercept: float
) -> None:
    risk = expit(factor * np.log(P / (1 - P)) + shift)
    once = np.ones((1, len(Y)))
    assert metrics.calibration_slope(risk, Y, once)[0] == pytest.approx(slope, rel=0.05)
    assert metrics.calibration_intercept(risk, Y, once)[0] == pytest.approx(intercept, abs=0.05)


def test_log_loss_of_a_certain_wrong_prediction_is_finite() -> None:
    loss = metrics.log_loss(np.array([0.0, 1.0]), np.array([1, 0]), np.ones((1, 2)))
    assert loss[0] == pytest.approx(27.6, abs=0.1)
