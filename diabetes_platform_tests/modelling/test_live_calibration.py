"""Predicted risks against confirmed outcomes."""

import numpy as np
import pytest

from diabetes_platform.modelling.live_calibration import (
    MIN_OUTCOMES,
    LiveCalibration,
    measure_live_calibration,
)
from diabetes_platform.modelling.plots import plot_live_calibration
from diabetes_platform.modelling.training_set import FloatArray


def risks(patients: int, seed: int = 1) -> FloatArray:
    return np.random.default_rng(seed).beta(2, 4, patients)


def came_true(truth: FloatArray, risk: FloatArray, seed: int = 2) -> LiveCalibration:
    outcomes = (np.random.default_rng(seed).uniform(size=len(truth)) < truth).astype(np.int64)
    return measure_live_calibration(risk, outcomes)


def test_metrics_agree_with_a_calculation_by_hand() -> None:
    result = measure_live_calibration(np.array([0.2, 0.8, 0.6]), np.array([0, 1, 0]))
    assert result.brier == pytest.approx((0.04 + 0.04 + 0.36) / 3)
    assert (result.predicted, result.observed) == (pytest.approx(1.6 / 3), pytest.approx(1 / 3))
    assert result.in_the_large == pytest.approx(-0.6 / 3)
    assert result.z == pytest.approx(-0.6 / np.sqrt(0.16 + 0.16 + 0.24))
    assert result.expected_error == pytest.approx((0.2 + 0.2 + 0.6) / 3)


@pytest.mark.parametrize("patients", [MIN_OUTCOMES, 500, 5_000])
def test_calibrated_risks_pass(patients: int) -> None:
    risk = risks(patients)
    results = [came_true(risk, risk, seed) for seed in range(100)]
    assert not any(result.miscalibrated for result in results)


def test_low_risks_are_miscalibrated_and_very_low_risks_severely() -> None:
    risk = risks(1_000)
    slightly, far = came_true(risk + 0.12, risk), came_true(np.minimum(risk + 0.3, 1), risk)
    assert (slightly.miscalibrated, slightly.severely_miscalibrated) == (True, False)
    assert (far.miscalibrated, far.severely_miscalibrated) == (True, True)
    assert slightly.in_the_large is not None
    assert slightly.in_the_large > 0
    assert slightly.text.startswith("risks are not calibrated in the large: ")


def test_a_significant_difference_within_the_tolerance_passes() -> None:
    risk = risks(50_000)
    result = came_true(risk + 0.03, risk)
    assert result.z is not None
    assert result.z > 10
    assert not result.miscalibrated


def test_extreme_risks_raise_spiegelhalters_z() -> None:
    truth = risks(5_000)
    risk = np.clip(0.35 + 3 * (truth - 0.35), 0.01, 0.99)
    result = came_true(truth, risk)
    assert result.spiegelhalter_z is not None
    assert result.spiegelhalter_z > 3.29


@pytest.mark.parametrize(
    ("patients", "ill"), [(MIN_OUTCOMES - 1, 40), (200, 9), (200, 195), (0, 0)]
)
def test_is_inconclusive_with_few_outcomes(patients: int, ill: int) -> None:
    outcomes = np.array([1] * ill + [0] * (patients - ill), dtype=np.int64)
    result = measure_live_calibration(np.full(patients, 0.99), outcomes)
    assert (result.conclusive, result.miscalibrated, result.severely_miscalibrated) == (
        False,
        False,
        False,
    )
    assert (
        f"{patients} confirmed outcomes, {ill} of them ill: inconclusive; the check needs"
        in result.text
    )


def test_risks_of_zero_and_one_have_no_standard_error() -> None:
    result = measure_live_calibration(np.array([0.0, 1.0]), np.array([0, 1]))
    assert (result.z, result.spiegelhalter_z, result.brier) == (None, None, 0)


def test_the_plot_is_a_deterministic_png() -> None:
    result = came_true(risks(300), risks(300))
    assert plot_live_calibration(result)[:4] == b"\x89PNG"
    assert plot_live_calibration(result) == plot_live_calibration(result)
