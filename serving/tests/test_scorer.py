"""The fast score of one row is LightGBM's own, by tables and by the C API."""

import math
import threading
from itertools import cycle

import lightgbm
import numpy as np
import pytest

from diabetes_platform.contract.fields import FEATURE_NAMES, FEATURES
from serving.app.score_tables import ScoreTables, pack, thresholds_of
from serving.app.scorer import Scorer
from serving.app.served_model import probe_rows
from serving.app.single_row import Row, ScorerError, SingleRow
from serving.tests.bundles import model_text


@pytest.fixture
def scorer() -> Scorer:
    return Scorer(model_text(), FEATURE_NAMES)


def random_rows(count: int) -> list[Row]:
    random = np.random.default_rng(7)
    low = [field.minimum for field in FEATURES]
    high = [field.maximum for field in FEATURES]
    rows = random.uniform(low, high, size=(count, len(FEATURES)))
    missing = random.uniform(size=rows.shape) < 0.2
    return [
        [None if gap else float(value) for value, gap in zip(row, gaps, strict=True)]
        for row, gaps in zip(rows, missing, strict=True)
    ]


def rows_at_thresholds(text: str) -> list[Row]:
    """Return rows with values at each threshold of the model, and just beside it."""
    trees = thresholds_of(lightgbm.Booster(model_str=text).dump_model()["tree_info"])
    assert trees is not None
    rows: list[Row] = []
    edges = {(column, edge) for tree in trees for column in tree for edge in tree[column]}
    for (index, edge), row in zip(sorted(edges), cycle(random_rows(40)), strict=False):
        beside = (math.nextafter(edge, -math.inf), edge, math.nextafter(edge, math.inf))
        rows += [[*row[:index], value, *row[index + 1 :]] for value in beside]
    return rows


def by_booster(text: str, rows: list[Row]) -> list[float]:
    scores = lightgbm.Booster(model_str=text).predict(np.array(rows, dtype=float), raw_score=True)
    return [float(score) for score in np.asarray(scores)]


def large_model_text() -> str:
    """Return a model whose trees are too large for tables."""
    rows = np.array(random_rows(3000), dtype=float)
    outcomes = (np.nansum(rows, axis=1) % 2 > 1).astype(float)
    parameters = {"objective": "binary", "num_leaves": 63, "num_threads": 1, "verbosity": -1}
    data = lightgbm.Dataset(rows, outcomes, feature_name=list(FEATURE_NAMES), params=parameters)
    return lightgbm.train(parameters, data, num_boost_round=20).model_to_string()


def test_tables_score_like_booster_predict(scorer: Scorer) -> None:
    assert isinstance(scorer.score.__self__, ScoreTables)  # type: ignore[attr-defined]
    text = model_text()
    rows = random_rows(300) + probe_rows(FEATURES) + rows_at_thresholds(text)
    assert scorer.score_all(rows) == pytest.approx(by_booster(text, rows), rel=1e-12, abs=1e-12)
    scorer.verify(rows)


def test_large_trees_score_like_booster_predict_to_the_last_bit() -> None:
    text = large_model_text()
    scorer = Scorer(text, FEATURE_NAMES)
    assert isinstance(scorer.score.__self__, SingleRow)  # type: ignore[attr-defined]
    rows = random_rows(300) + probe_rows(FEATURES) + rows_at_thresholds(text)
    assert scorer.score_all(rows) == by_booster(text, rows)


def test_a_model_of_one_leaf_is_scored() -> None:
    rows = np.array(random_rows(50), dtype=float)
    parameters = {"objective": "binary", "num_threads": 1, "verbosity": -1, "min_data_in_leaf": 50}
    data = lightgbm.Dataset(
        rows, np.arange(50) % 2, feature_name=list(FEATURE_NAMES), params=parameters
    )
    text = lightgbm.train(parameters, data, num_boost_round=1).model_to_string()
    examples = random_rows(3)
    assert Scorer(text, FEATURE_NAMES).score_all(examples) == by_booster(text, examples)


@pytest.mark.parametrize(
    "node",
    [
        {"split_feature": 0, "decision_type": "==", "missing_type": "None", "threshold": "1||2"},
        {"split_feature": 0, "decision_type": "<=", "missing_type": "Zero", "threshold": 1.0},
        {"leaf_value": 1.0, "leaf_coeff": [0.5]},
    ],
    ids=["categories", "zero as missing", "linear leaves"],
)
def test_other_kinds_of_trees_are_left_to_lightgbm(node: dict[str, object]) -> None:
    leaves = {"left_child": {"leaf_value": 0.1}, "right_child": {"leaf_value": 0.2}}
    assert thresholds_of([{"tree_structure": {**leaves, **node}}]) is None


def test_many_tables_are_no_gain() -> None:
    different = [{0: set(map(float, range(n * 900, (n + 1) * 900)))} for n in range(200)]
    assert pack(different) is None


def test_contributions_add_up_to_the_score(scorer: Scorer) -> None:
    rows = random_rows(20)
    sums = [sum(shares) for shares in scorer.contributions(rows)]
    assert sums == pytest.approx(scorer.score_all(rows))


@pytest.mark.parametrize("text", [model_text(), large_model_text()], ids=["tables", "C API"])
def test_threads_share_one_scorer(text: str) -> None:
    scorer = Scorer(text, FEATURE_NAMES)
    rows = random_rows(50)
    expected = scorer.score_all(rows)
    wrong: list[int] = []

    def compare() -> None:
        for _ in range(40):
            wrong.extend(
                index for index, row in enumerate(rows) if scorer.score(row) != expected[index]
            )

    threads = [threading.Thread(target=compare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_scorer_that_differs_is_found(scorer: Scorer) -> None:
    scorer.score = Scorer(model_text(seed=2), FEATURE_NAMES).score
    with pytest.raises(ScorerError, match=r"fast score .* differs from Booster\.predict"):
        scorer.verify(random_rows(5))


@pytest.mark.parametrize(
    ("text", "features", "message"),
    [
        ("", FEATURE_NAMES, "not a LightGBM model"),
        ("no model", FEATURE_NAMES, "not a LightGBM model"),
        (model_text(), FEATURE_NAMES[::-1], "columns of the model"),
        (model_text(), FEATURE_NAMES[1:], "columns of the model"),
    ],
    ids=["empty", "other text", "columns in another order", "one column less"],
)
def test_what_is_no_model_of_these_columns_is_refused(
    text: str, features: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ScorerError, match=message):
        Scorer(text, features)


def test_a_model_of_several_classes_is_refused() -> None:
    random = np.random.default_rng(1)
    rows = random.uniform(size=(300, len(FEATURES)))
    parameters = {"objective": "multiclass", "num_class": 3, "verbosity": -1, "num_threads": 1}
    data = lightgbm.Dataset(
        rows, random.integers(0, 3, 300), feature_name=list(FEATURE_NAMES), params=parameters
    )
    text = lightgbm.train(parameters, data, num_boost_round=2).model_to_string()
    with pytest.raises(ScorerError, match="more than one score"):
        Scorer(text, FEATURE_NAMES)
