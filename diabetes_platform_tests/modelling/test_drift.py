"""Recent patients against the training set: what counts as another population and what does not."""

import math

import numpy as np
import pytest
from scipy.stats import ks_2samp

from diabetes_platform.modelling.drift import (
    FEWEST,
    SIGNIFICANT_PSI,
    DriftError,
    drift,
    psi,
    psi_limit,
)
from diabetes_platform.modelling.training_set import FloatArray


def glucose(patients: int, mean: float = 120, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).normal(mean, 30, patients)


def test_the_index_is_that_of_the_textbook_apart_from_the_half_patient() -> None:
    before, now = np.array([5e5, 3e5, 2e5]), np.array([4e5, 3e5, 3e5])
    by_hand = (0.4 - 0.5) * math.log(0.4 / 0.5) + (0.3 - 0.2) * math.log(0.3 / 0.2)
    assert psi(before, now) == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("patients", [FEWEST, 200, 2_000])
def test_patients_of_the_same_population_are_no_drift(patients: int) -> None:
    reference = glucose(766)
    found = [drift("glucose", reference, glucose(patients, seed=n)) for n in range(1, 101)]
    assert not any(each.drifted for each in found)


@pytest.mark.parametrize("patients", [200, 2_000])
def test_a_mean_that_moved_by_a_standard_deviation_is_drift(patients: int) -> None:
    found = drift("glucose", glucose(766), glucose(patients, mean=150, seed=1))
    assert found.drifted
    assert found.text.startswith("glucose is not distributed as in the training set: PSI ")


def test_a_value_that_is_no_longer_measured_is_drift() -> None:
    recent = glucose(400, seed=1)
    recent[::2] = np.nan
    found = drift("insulin", glucose(766), recent)
    assert found.drifted
    assert (found.reference_shares[-1], found.recent_shares[-1]) == (0, 0.5)
    assert found.ks is not None
    assert found.ks < 0.1


def test_of_few_patients_nothing_is_said() -> None:
    found = drift("glucose", glucose(766), glucose(FEWEST - 1, mean=300))
    assert (found.enough, found.drifted) == (False, False)
    assert found.text == "glucose: 49 recent patients, 50 are needed to compare"


def test_of_no_patient_nothing_is_said() -> None:
    found = drift("glucose", glucose(766), np.array([]))
    assert (found.psi, found.ks, found.recent) == (None, None, 0)


def test_a_small_sample_may_differ_more() -> None:
    assert psi_limit(766, 50, 11) > psi_limit(766, 200, 11) > SIGNIFICANT_PSI - 1e-9
    assert psi_limit(766, 10_000, 11) == SIGNIFICANT_PSI


def test_the_distance_is_that_of_the_measured_values() -> None:
    reference, recent = glucose(766), glucose(300, mean=130, seed=2)
    expected = ks_2samp(reference, recent, method="asymp")
    found = drift("glucose", np.append(reference, np.nan), np.append(recent, np.nan))
    assert (found.ks, found.p_value) == (expected.statistic, expected.pvalue)


def test_a_field_of_few_values_has_few_bins() -> None:
    reference = np.repeat([0.0, 1.0, 2.0], 100)
    found = drift("pregnancies", reference, reference)
    assert found.edges == (0, 1, 2)
    assert found.reference_shares == pytest.approx((1 / 3, 1 / 3, 1 / 3, 0, 0))
    assert found.psi == pytest.approx(0)


def test_without_a_reference_there_is_nothing_to_compare_with() -> None:
    with pytest.raises(DriftError, match="insulin: given a reference without a measured value"):
        drift("insulin", np.full(10, np.nan), glucose(100))
