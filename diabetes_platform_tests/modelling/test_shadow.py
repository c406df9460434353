"""The shadow comparison's limits."""

import numpy as np
import pytest

from diabetes_platform.modelling.shadow import (
    CHANGED_SHARE,
    MEAN_SHIFT,
    MIN_PATIENTS,
    ShadowComparison,
    compare_predictions,
)
from diabetes_platform.modelling.training_set import FloatArray

RISKS = np.linspace(0.05, 0.95, 200)


def compared(challenger: FloatArray, champion: FloatArray = RISKS) -> ShadowComparison:
    return compare_predictions(
        champion, challenger, champion_threshold=0.5, challenger_threshold=0.5
    )


def test_identical_predictions_are_plausible() -> None:
    same = compared(RISKS)
    assert same.plausible
    assert (same.patients, same.changed, same.mean_shift, same.max_difference) == (200, 0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("shift", "plausible"), [(MEAN_SHIFT - 0.01, True), (MEAN_SHIFT + 0.01, False)]
)
def test_a_mean_shift_above_the_limit_is_not_plausible(shift: float, plausible: bool) -> None:
    # Low risks only, so that no result changes.
    low = np.linspace(0.05, 0.3, 100)
    comparison = compared(low + shift, low)
    assert comparison.changed == 0
    assert comparison.mean_shift == pytest.approx(shift)
    assert comparison.plausible is plausible


@pytest.mark.parametrize(("share", "plausible"), [(CHANGED_SHARE, True), (0.25, False)])
def test_a_share_of_changed_results_above_the_limit_is_not_plausible(
    share: float, plausible: bool
) -> None:
    champion = np.full(100, 0.49)
    changed = round(share * 100)
    challenger = np.where(np.arange(100) < changed, 0.51, 0.49)
    comparison = compared(challenger, champion)
    assert comparison.changed_share == share
    assert comparison.plausible is plausible
    assert f"result changes for {share:.0%} of them (allowed 20%)" in comparison.text


def test_applies_the_threshold_of_each_model() -> None:
    comparison = compare_predictions(RISKS, RISKS, champion_threshold=0.5, challenger_threshold=0.3)
    assert comparison.changed == int(((RISKS >= 0.3) & (RISKS < 0.5)).sum()) > 0


def test_is_inconclusive_with_few_patients() -> None:
    few = compared(1 - RISKS[: MIN_PATIENTS - 1], RISKS[: MIN_PATIENTS - 1])
    assert few.plausible
    assert not few.conclusive
    assert few.text == f"{MIN_PATIENTS - 1} live patients: inconclusive below {MIN_PATIENTS}"


def test_has_no_numbers_without_patients() -> None:
    none = compared(np.empty(0), np.empty(0))
    assert (none.patients, none.champion_mean, none.max_difference) == (0, None, None)
    assert none.plausible
