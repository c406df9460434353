"""Training is deterministic, monotone, and survives poor columns."""

import math
import os
import subprocess
import sys

import lightgbm
import numpy as np
import pytest

from diabetes_platform.contract.bundle import Calibration, sha256
from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.modelling.classifier import (
    calibrate,
    fit_platt,
    raw_scores,
    train_trees,
    youden_threshold,
)
from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.training import fit
from diabetes_platform.modelling.training_set import TrainingSet, TrainingSetError
from diabetes_platform.settings import PROJECT_ROOT
from diabetes_platform_tests.modelling.patients import SMALL, relabelled, remeasured

FIT_ELSEWHERE = """
from diabetes_platform.contract.bundle import sha256
from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.training import fit
from diabetes_platform.modelling.training_set import training_set_from_arrow
from diabetes_platform_tests.modelling.patients import pima_table
model = fit(training_set_from_arrow(pima_table()), Recipe())
print(sha256(model.model_text), model.calibration, model.threshold)
"""


@pytest.mark.slow
def test_another_process_gives_the_same_bytes_calibration_and_threshold(pima: TrainingSet) -> None:
    here = fit(pima, Recipe())
    elsewhere = subprocess.run(
        [sys.executable, "-c", FIT_ELSEWHERE],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PYTHONHASHSEED": "17", "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = f"{sha256(here.model_text)} {here.calibration} {here.threshold}"
    assert elsewhere.stdout.strip() == expected


def test_the_model_has_the_contract_features(pima: TrainingSet) -> None:
    model = fit(pima, SMALL)
    trees = lightgbm.Booster(model_str=model.model_text.decode())
    assert tuple(trees.feature_name()) == FEATURE_NAMES
    assert 0 < model.threshold < 1


@pytest.mark.parametrize("name", Recipe().increasing)
def test_the_risk_is_monotone_in_the_increasing_features(pima: TrainingSet, name: str) -> None:
    trees = train_trees(pima.features, pima.outcomes, Recipe())
    levels = np.nanpercentile(pima.features[:, FEATURE_NAMES.index(name)], range(0, 101, 5))
    scores = [raw_scores(trees, remeasured(pima, name, level).features[:100]) for level in levels]
    assert (np.diff(scores, axis=0) >= -1e-12).all()


@pytest.mark.parametrize("value", [math.nan, 42.0], ids=["always missing", "constant"])
def test_ignores_a_constant_or_missing_column(pima: TrainingSet, value: float) -> None:
    model = fit(remeasured(pima, "insulin", value), SMALL)
    trees = lightgbm.Booster(model_str=model.model_text.decode())
    assert trees.feature_importance()[FEATURE_NAMES.index("insulin")] == 0
    assert model.calibration.slope > 0


def test_platt_scaling_of_constant_scores_gives_the_prevalence() -> None:
    scores, outcomes = np.full(100, -0.7), np.arange(100) % 4 == 0
    calibration = fit_platt(scores, outcomes.astype(np.int64))
    np.testing.assert_allclose(calibrate(calibration, scores), 0.25, atol=0.01)


def test_rejects_rows_with_one_outcome(pima: TrainingSet) -> None:
    with pytest.raises(TrainingSetError, match="768 rows have one outcome; training needs"):
        train_trees(pima.features, relabelled(pima, np.zeros(768)).outcomes, SMALL)


def test_platt_scaling_recovers_slope_and_intercept() -> None:
    random = np.random.default_rng(3)
    scores = random.normal(0, 2, 5000)
    truth = Calibration(slope=0.6, intercept=-0.4)
    outcomes = (random.uniform(size=5000) < calibrate(truth, scores)).astype(np.int64)
    calibration = fit_platt(scores, outcomes)
    assert calibration.slope == pytest.approx(0.6, abs=0.05)
    assert calibration.intercept == pytest.approx(-0.4, abs=0.1)


def test_separated_scores_do_not_give_probabilities_of_zero_and_one() -> None:
    scores = np.r_[np.full(50, -3.0), np.full(50, 3.0)]
    calibration = fit_platt(scores, (scores > 0).astype(np.int64))
    np.testing.assert_allclose(
        calibrate(calibration, np.array([-3.0, 3.0])), [1 / 52, 51 / 52], rtol=1e-3
    )


def test_platt_scaling_ignores_scores_worse_than_chance() -> None:
    scores = np.linspace(-1, 1, 100)
    calibration = fit_platt(scores, (scores < 0).astype(np.int64))
    assert calibration.slope == 0
    assert calibration.intercept == pytest.approx(0)


def test_calibration_agrees_with_serving() -> None:
    calibration, scores = Calibration(1.3, -0.2), np.linspace(-40, 40, 201)
    expected = [calibration.probability(score) for score in scores]
    np.testing.assert_allclose(calibrate(calibration, scores), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("probabilities", "outcomes", "threshold"),
    [
        ([0.1, 0.2, 0.6, 0.8], [0, 0, 1, 1], 0.4),
        ([0.1, 0.2, 0.6, 0.8], [0, 1, 0, 1], 0.15),
        ([0.1, 0.5, 0.5, 0.9], [0, 0, 1, 1], 0.3),
        ([0.3, 0.3, 0.3], [0, 0, 1], 0.3),
    ],
    ids=["half-way", "of two equal the lower", "ties stay together", "constant"],
)
def test_youden_threshold(
    probabilities: list[float], outcomes: list[int], threshold: float
) -> None:
    assert youden_threshold(np.array(probabilities), np.array(outcomes)) == pytest.approx(threshold)
