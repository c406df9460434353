"""Scores of single rows equal LightGBM's own to the last bit."""

import threading

import lightgbm
import numpy as np
import pytest

from diabetes_platform.contract.fields import FEATURE_NAMES, FEATURES
from serving.app.scorer import Row, Scorer, ScorerError
from serving.app.served_model import probe_rows
from serving.tests.bundles import model_text


@pytest.fixture
def scorer() -> Scorer:
    return Scorer(model_text(), FEATURE_NAMES)


def random_rows(count: int) -> list[Row]:
    random = np.random.default_rng(7)
    low = [field.minimum for field in FEATURES]
    high = [field.maximum for field in FEATURES]
    rows = random.uniform(low, high, size=(count, len(FEATURES)))
    missing_values = random.uniform(size=rows.shape) < 0.2
    return [
        [None if missing else float(value) for value, missing in zip(row, mask, strict=True)]
        for row, mask in zip(rows, missing_values, strict=True)
    ]


def booster_scores(text: str, rows: list[Row]) -> list[float]:
    scores = lightgbm.Booster(model_str=text).predict(np.array(rows, dtype=float), raw_score=True)
    return [float(score) for score in np.asarray(scores)]


def large_model_text() -> str:
    """Return a model of trees with many leaves."""
    rows = np.array(random_rows(3000), dtype=float)
    outcomes = (np.nansum(rows, axis=1) % 2 > 1).astype(float)
    parameters = {"objective": "binary", "num_leaves": 63, "num_threads": 1, "verbosity": -1}
    data = lightgbm.Dataset(rows, outcomes, feature_name=list(FEATURE_NAMES), params=parameters)
    return lightgbm.train(parameters, data, num_boost_round=20).model_to_string()


@pytest.mark.parametrize("text", [model_text(), large_model_text()], ids=["small", "large trees"])
def test_scores_equal_those_of_booster_predict(text: str) -> None:
    scorer = Scorer(text, FEATURE_NAMES)
    rows = random_rows(300) + probe_rows(FEATURES)
    expected = booster_scores(text, rows)
    assert [scorer.score(row) for row in rows] == expected
    assert scorer.score_all(rows) == expected
    scorer.verify(rows)


def test_contributions_add_up_to_the_score(scorer: Scorer) -> None:
    rows = random_rows(20)
    sums = [sum(values) for values in scorer.contributions(rows)]
    assert sums == pytest.approx(scorer.score_all(rows))


def test_a_scorer_is_thread_safe(scorer: Scorer) -> None:
    rows = random_rows(50)
    expected = scorer.score_all(rows)
    mismatches: list[int] = []

    def compare() -> None:
        for _ in range(40):
            mismatches.extend(
                index for index, row in enumerate(rows) if scorer.score(row) != expected[index]
            )

    threads = [threading.Thread(target=compare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not mismatches


def test_verify_detects_a_different_score(scorer: Scorer) -> None:
    scorer.score = Scorer(model_text(seed=2), FEATURE_NAMES).score
    with pytest.raises(ScorerError, match=r"fast score .* differs from Booster\.predict"):
        scorer.verify(random_rows(5))


@pytest.mark.parametrize(
    ("text", "features", "message"),
    [
        ("", FEATURE_NAMES, "not a LightGBM model"),
        ("no model", FEATURE_NAMES, "not a LightGBM model"),
        (model_text(), FEATURE_NAMES[::-1], "model's columns"),
        (model_text(), FEATURE_NAMES[1:], "model's columns"),
    ],
    ids=["empty", "other text", "columns in another order", "a missing column"],
)
def test_rejects_a_text_that_is_not_a_model_of_the_features(
    text: str, features: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ScorerError, match=message):
        Scorer(text, features)


def test_rejects_a_model_of_several_classes() -> None:
    random = np.random.default_rng(1)
    rows = random.uniform(size=(300, len(FEATURES)))
    parameters = {"objective": "multiclass", "num_class": 3, "verbosity": -1, "num_threads": 1}
    data = lightgbm.Dataset(
        rows, random.integers(0, 3, 300), feature_name=list(FEATURE_NAMES), params=parameters
    )
    text = lightgbm.train(parameters, data, num_boost_round=2).model_to_string()
    with pytest.raises(ScorerError, match="has 3 scores per row"):
        Scorer(text, FEATURE_NAMES)
