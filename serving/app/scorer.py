"""LightGBM behind one small door: a fast score of one row, several rows, contributions.

One row goes through the C API (`single_row`), all else through `Booster.predict`. `verify` holds
both to the same scores before a model is used.
"""

from collections.abc import Callable, Sequence

import lightgbm
import numpy as np
from numpy.typing import NDArray

from serving.app.single_row import Row, ScorerError, SingleRow


class Scorer:
    """A LightGBM model of one score per row, read from its text format; threads may share it."""

    def __init__(self, model_text: str, features: Sequence[str]) -> None:
        """Raise ScorerError where the text is no such model of `features`, in this order."""
        try:
            self._booster = lightgbm.Booster(model_str=model_text)
        except lightgbm.basic.LightGBMError as error:
            raise ScorerError(f"not a LightGBM model: {error}") from error
        if self._booster.num_model_per_iteration() != 1:
            raise ScorerError("the model has more than one score per row, allowed 1")
        if self._booster.feature_name() != list(features):
            raise ScorerError(
                f"columns of the model: given {self._booster.feature_name()}, "
                f"allowed {list(features)}"
            )
        self.score: Callable[[Row], float] = SingleRow(model_text, len(features)).score

    def score_all(self, rows: Sequence[Row]) -> list[float]:
        """Return the raw score of each row: the same as `score`, to the last bit."""
        scores: list[float] = self._predict(rows, raw_score=True).tolist()
        return scores

    def contributions(self, rows: Sequence[Row]) -> list[list[float]]:
        """Return for each row the SHAP value of each column, then the bias, in raw score."""
        values: list[list[float]] = self._predict(rows, pred_contrib=True).tolist()
        return values

    def verify(self, rows: Sequence[Row]) -> None:
        """Raise ScorerError where the fast score and `Booster.predict` differ in any bit."""
        for row, expected in zip(rows, self.score_all(rows), strict=True):
            given = self.score(row)
            if given != expected:
                raise ScorerError(f"fast score {given!r} differs from Booster.predict {expected!r}")

    def _predict(self, rows: Sequence[Row], **kind: bool) -> NDArray[np.float64]:
        # One thread: the API's workers are the parallelism, and a small batch is not worth more.
        matrix = np.asarray(rows, dtype=np.float64)
        return np.asarray(self._booster.predict(matrix, num_threads=1, **kind))
