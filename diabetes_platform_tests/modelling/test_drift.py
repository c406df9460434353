"""Drift of recent patients against the training set."""

import math

import numpy as np
import pytest
from scipy.stats import ks_2samp

from diabetes_platform.modelling.drift import (
    MIN_RECENT_PATIENTS,
    SIGNIFICANT_PSI,
    measure_drift,
    psi,
    psi_limit,
)
from diabetes_platform.modelling.training_set import FloatArray


def glucose(patients: int, mean: float = 120, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).normal(mean, 30, patients)


def test_psi_agrees_with_the_textbook_formula() -> None:
    reference, recent = np.array([5e5, 3e5, 2e5]), np.array([4e5, 3e5, 3e5])
    by_hand = (0.4 - 0.5) * math.log(0.4 / 0.5) + (0.3 - 0.2) * math.log(0.3 / 0.2)
    assert psi(reference, recent) == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("patients", [MIN_RECENT_PATIENTS, 200, 2_000])
def test_samples_of_one_population_do_not_drift(patients: int) -> None:
    reference = glucose(766)
    results = [
        measure_drift("glucose", reference, glucose(patients, seed=n)) for n in range(1, 101)
    ]
    assert not any(result.drifted for result in results)


@pytest.mark.parametrize("patients", [200, 2_000])
def test_detects_a_mean_shifted_by_a_standard_deviation(patients: int) -> None:
    result = measure_drift("glucose", glucose(766), glucose(patients, mean=150, seed=1))
    assert result.drifted
    assert result.text.startswith("glucose is not distributed as in the training set: PSI ")


def test_detects_a_rise_in_missing_values() -> None:
    recent = glucose(400, seed=1)
    recent[::2] = np.nan
    result = measure_drift("insulin", glucose(766), recent)
    assert result.drifted
    assert (result.reference_shares[-1], result.recent_shares[-1]) == (0, 0.5)
    assert result.ks is not None
    assert result.ks < 0.1


def test_is_inconclusive_with_few_patients() -> None:
    result = measure_drift("glucose", glucose(766), glucose(MIN_RECENT_PATIENTS - 1, mean=300))
    assert (result.conclusive, result.drifted) == (False, False)
    assert result.text == "glucose: 49 recent patients; a comparison needs 50"


def test_has_no_numbers_without_recent_patients() -> None:
    result = measure_drift("glucose", glucose(766), np.array([]))
    assert (result.psi, result.ks, result.recent) == (None, None, 0)


def test_the_limit_is_higher_for_small_samples() -> None:
    assert psi_limit(766, 50, 11) > psi_limit(766, 200, 11) > SIGNIFICANT_PSI - 1e-9
    assert psi_limit(766, 10_000, 11) == SIGNIFICANT_PSI


def test_ks_ignores_missing_values() -> None:
    reference, recent = glucose(766), glucose(300, mean=130, seed=2)
    expected = ks_2samp(reference, recent, method="asymp")
    result = measure_drift("glucose", np.append(reference, np.nan), np.append(recent, np.nan))
    assert (result.ks, result.p_value) == (expected.statistic, expected.pvalue)


def test_a_field_with_few_distinct_values_has_few_bins() -> None:
    reference = np.repeat([0.0, 1.0, 2.0], 100)
    result = measure_drift("pregnancies", reference, reference)
    assert result.edges == (0, 1, 2)
    assert result.reference_shares == pytest.approx((1 / 3, 1 / 3, 1 / 3, 0, 0))
    assert result.psi == pytest.approx(0)


def test_is_inconclusive_if_the_training_set_is_older_than_the_field() -> None:
    result = measure_drift("insulin", np.full(10, np.nan), glucose(100))
    assert (result.conclusive, result.drifted, result.ks) == (False, False, None)
    assert result.text == "insulin: not measured in the training set"
