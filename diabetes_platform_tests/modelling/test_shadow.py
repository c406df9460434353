"""When a challenger's answers to live patients want a person's look before it is released."""

import numpy as np
import pytest

from diabetes_platform.modelling.shadow import CHANGED_SHARE, FEWEST, MEAN_SHIFT, Shadow, compare
from diabetes_platform.modelling.training_set import FloatArray

RISKS = np.linspace(0.05, 0.95, 200)


def compared(challenger: FloatArray, champion: FloatArray = RISKS) -> Shadow:
    return compare(champion, challenger, champion_threshold=0.5, challenger_threshold=0.5)


def test_the_same_answers_are_plausible() -> None:
    same = compared(RISKS)
    assert same.plausible
    assert (same.patients, same.changed, same.mean_shift, same.largest) == (200, 0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("shift", "plausible"), [(MEAN_SHIFT - 0.01, True), (MEAN_SHIFT + 0.01, False)]
)
def test_the_mean_risk_may_move_by_a_tenth(shift: float, plausible: bool) -> None:
    # Low risks only, so that no result changes.
    low = np.linspace(0.05, 0.3, 100)
    found = compared(low + shift, low)
    assert found.changed == 0
    assert found.mean_shift == pytest.approx(shift)
    assert found.plausible is plausible


@pytest.mark.parametrize(("share", "plausible"), [(CHANGED_SHARE, True), (0.25, False)])
def test_a_fifth_of_the_results_may_change(share: float, plausible: bool) -> None:
    champion = np.full(100, 0.49)
    changed = round(share * 100)
    challenger = np.where(np.arange(100) < changed, 0.51, 0.49)
    found = compared(challenger, champion)
    assert found.changed_share == share
    assert found.plausible is plausible
    assert f"another result for {share:.0%} of them (allowed 20%)" in found.text


def test_each_model_has_its_own_threshold() -> None:
    found = compare(RISKS, RISKS, champion_threshold=0.5, challenger_threshold=0.3)
    assert found.changed == int(((RISKS >= 0.3) & (RISKS < 0.5)).sum()) > 0


def test_of_few_patients_nothing_is_said() -> None:
    few = compared(1 - RISKS[: FEWEST - 1], RISKS[: FEWEST - 1])
    assert few.plausible
    assert not few.enough
    assert few.text == f"{FEWEST - 1} live patients: not judged below {FEWEST}"


def test_without_patients_there_are_no_numbers() -> None:
    none = compared(np.empty(0), np.empty(0))
    assert (none.patients, none.champion_mean, none.largest) == (0, None, None)
    assert none.plausible
