"""The logistic regression agrees with scikit-learn and stays finite for separated data."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from diabetes_platform.modelling.logistic import expit, fit_intercept, fit_line

RANDOM = np.random.default_rng(5)
X = RANDOM.normal(3, 2, 400)
Y = (RANDOM.uniform(size=400) < expit(0.8 * X - 2)).astype(np.float64)
WEIGHTS = RANDOM.integers(0, 4, (3, 400)).astype(np.float64)


@pytest.mark.parametrize("fit", range(3))
def test_each_row_of_weights_is_a_fit_of_its_own(fit: int) -> None:
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    reference.fit(X[:, None], Y, sample_weight=WEIGHTS[fit])
    slopes, intercepts = fit_line(X, Y, WEIGHTS)
    assert slopes[fit] == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert intercepts[fit] == pytest.approx(reference.intercept_[0], rel=1e-4)


def test_the_intercept_makes_expected_and_observed_equal() -> None:
    (intercept,) = fit_intercept(X, Y, WEIGHTS[:1])
    assert (WEIGHTS[0] * expit(X + intercept)).sum() == pytest.approx((WEIGHTS[0] * Y).sum())


def test_a_constant_variable_has_no_slope_and_the_log_odds_as_intercept() -> None:
    slopes, intercepts = fit_line(np.full(400, 2.0), Y, np.ones((1, 400)))
    assert slopes[0] == pytest.approx(0, abs=1e-9)
    assert expit(intercepts)[0] == pytest.approx(Y.mean())


def test_separated_classes_give_a_steep_but_finite_slope() -> None:
    slopes, _ = fit_line(X, (X > 3).astype(np.float64), np.ones((1, 400)))
    assert 10 < slopes[0] < 1e6


def test_expit_does_not_overflow() -> None:
    np.testing.assert_array_equal(expit(np.array([-1e4, 0.0, 1e4])), [0.0, 0.5, 1.0])


def test_raises_for_a_score_of_nan() -> None:
    broken = np.where(np.arange(400) == 7, np.nan, X)
    with pytest.raises(ArithmeticError, match="not converged"):
        fit_line(broken, Y, WEIGHTS)
    with pytest.raises(ArithmeticError, match="not converged"):
        fit_intercept(broken, Y, WEIGHTS)
