"""Risks against confirmed outcomes: what is chance, what is off, and what is too few to say."""

import numpy as np
import pytest

from diabetes_platform.modelling.live_calibration import (
    FEWEST,
    LiveCalibration,
    live_calibration,
)
from diabetes_platform.modelling.plots import live_calibration_png
from diabetes_platform.modelling.training_set import FloatArray


def risks(patients: int, seed: int = 1) -> FloatArray:
    return np.random.default_rng(seed).beta(2, 4, patients)


def came_true(truth: FloatArray, told: FloatArray, seed: int = 2) -> LiveCalibration:
    outcomes = (np.random.default_rng(seed).uniform(size=len(truth)) < truth).astype(np.int64)
    return live_calibration(told, outcomes)


def test_the_numbers_are_those_by_hand() -> None:
    found = live_calibration(np.array([0.2, 0.8, 0.6]), np.array([0, 1, 0]))
    assert found.brier == pytest.approx((0.04 + 0.04 + 0.36) / 3)
    assert (found.predicted, found.observed) == (pytest.approx(1.6 / 3), pytest.approx(1 / 3))
    assert found.in_the_large == pytest.approx(-0.6 / 3)
    assert found.z == pytest.approx(-0.6 / np.sqrt(0.16 + 0.16 + 0.24))
    assert found.expected_error == pytest.approx((0.2 + 0.2 + 0.6) / 3)


@pytest.mark.parametrize("patients", [FEWEST, 500, 5_000])
def test_risks_that_are_right_are_not_called_off(patients: int) -> None:
    told = risks(patients)
    found = [came_true(told, told, seed) for seed in range(100)]
    assert not any(each.off for each in found)


def test_risks_that_are_too_low_are_off_and_far_too_low_severe() -> None:
    told = risks(1_000)
    slightly, far = came_true(told + 0.12, told), came_true(np.minimum(told + 0.3, 1), told)
    assert (slightly.off, slightly.severe) == (True, False)
    assert (far.off, far.severe) == (True, True)
    assert slightly.in_the_large is not None
    assert slightly.in_the_large > 0
    assert slightly.text.startswith("risks are not calibrated on the whole: ")


def test_a_difference_too_small_to_matter_is_tolerated_however_sure() -> None:
    told = risks(50_000)
    found = came_true(told + 0.03, told)
    assert found.z is not None
    assert found.z > 10
    assert not found.off


def test_risks_too_extreme_show_in_the_brier_score() -> None:
    truth = risks(5_000)
    told = np.clip(0.35 + 3 * (truth - 0.35), 0.01, 0.99)
    found = came_true(truth, told)
    assert found.spiegelhalter_z is not None
    assert found.spiegelhalter_z > 3.29


@pytest.mark.parametrize(("patients", "ill"), [(FEWEST - 1, 40), (200, 9), (200, 195), (0, 0)])
def test_of_too_few_outcomes_nothing_is_said(patients: int, ill: int) -> None:
    outcomes = np.array([1] * ill + [0] * (patients - ill), dtype=np.int64)
    found = live_calibration(np.full(patients, 0.99), outcomes)
    assert (found.enough, found.off, found.severe) == (False, False, False)
    assert f"{patients} confirmed outcomes, {ill} of them ill: not judged; needed" in found.text


def test_risks_without_doubt_have_no_standard_error() -> None:
    found = live_calibration(np.array([0.0, 1.0]), np.array([0, 1]))
    assert (found.z, found.spiegelhalter_z, found.brier) == (None, None, 0)


def test_the_plot_is_a_png_and_always_the_same() -> None:
    found = came_true(risks(300), risks(300))
    assert live_calibration_png(found)[:4] == b"\x89PNG"
    assert live_calibration_png(found) == live_calibration_png(found)
