"""LightGBM scoring: one row through the C API, several rows and SHAP values through the Booster.

`LGBM_BoosterPredictForMatSingleRowFast` costs a fifth of `Booster.predict`, which copies a matrix
first. `Scorer.verify` checks that both give the same scores before a model is used.
"""

import ctypes
import math
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import files

import lightgbm
import numpy as np
from numpy.typing import NDArray

Row = Sequence[float | None]
"""The measurements in a model's column order, None if missing."""

_RAW_SCORE = 1  # C_API_PREDICT_RAW_SCORE
_FLOAT64 = 1  # C_API_DTYPE_FLOAT64
_ALL_ITERATIONS = -1


class ScorerError(ValueError):
    """LightGBM cannot read the model text, or the model does not fit the features."""


class Scorer:
    """A LightGBM model with one score per row, read from its text format. Thread-safe."""

    def __init__(self, model_text: str, features: Sequence[str]) -> None:
        """Raise ScorerError unless the text is such a model of `features`, in this order."""
        try:
            self._booster = lightgbm.Booster(model_str=model_text)
        except lightgbm.basic.LightGBMError as error:
            raise ScorerError(f"not a LightGBM model: {error}") from error
        scores = self._booster.num_model_per_iteration()
        if scores != 1:
            raise ScorerError(f"the model has {scores} scores per row; allowed: 1")
        columns = self._booster.feature_name()
        if columns != list(features):
            raise ScorerError(f"the model's columns are {columns}; the bundle's: {list(features)}")
        self.score: Callable[[Row], float] = SingleRowScorer(model_text, len(features)).score

    def score_all(self, rows: Sequence[Row]) -> list[float]:
        """Return the raw score of each row: the same as `score`, to the last bit."""
        scores: list[float] = self._predict(rows, raw_score=True).tolist()
        return scores

    def contributions(self, rows: Sequence[Row]) -> list[list[float]]:
        """Return for each row the SHAP value of each column, then the bias, as raw scores."""
        values: list[list[float]] = self._predict(rows, pred_contrib=True).tolist()
        return values

    def verify(self, rows: Sequence[Row]) -> None:
        """Raise ScorerError if `score` and `Booster.predict` differ in any bit."""
        for row, expected in zip(rows, self.score_all(rows), strict=True):
            score = self.score(row)
            if score != expected:
                raise ScorerError(f"fast score {score!r} differs from Booster.predict {expected!r}")

    def _predict(self, rows: Sequence[Row], **kind: bool) -> NDArray[np.float64]:
        # One thread: the API's workers are the parallelism, and a small batch is not worth more.
        matrix = np.asarray(rows, dtype=np.float64)
        return np.asarray(self._booster.predict(matrix, num_threads=1, **kind))


class SingleRowScorer:
    """The C handle of one model, set up for single rows. Thread-safe."""

    def __init__(self, model_text: str, width: int) -> None:
        library = _library()
        model, fast = ctypes.c_void_p(), ctypes.c_void_p()
        weakref.finalize(self, _free, library, model, fast)
        iterations = ctypes.c_int()
        _check(
            library.LGBM_BoosterLoadModelFromString(
                model_text.encode(), ctypes.byref(iterations), ctypes.byref(model)
            )
        )
        _check(
            library.LGBM_BoosterPredictForMatSingleRowFastInit(
                model,
                ctypes.c_int(_RAW_SCORE),
                ctypes.c_int(0),
                ctypes.c_int(_ALL_ITERATIONS),
                ctypes.c_int(_FLOAT64),
                ctypes.c_int32(width),
                b"",
                ctypes.byref(fast),
            )
        )
        self._row = (ctypes.c_double * width)()
        self._result = ctypes.c_double()
        self._length = ctypes.c_int64()
        self._call = library.LGBM_BoosterPredictForMatSingleRowFast
        self._arguments = (
            fast,
            ctypes.byref(self._row),
            ctypes.byref(self._length),
            ctypes.byref(self._result),
        )
        self._lock = threading.Lock()

    def score(self, row: Row) -> float:
        """Return the raw score of `row`, in the model's column order."""
        values = [math.nan if value is None else value for value in row]
        with self._lock:
            # ctypes accepts plain floats, but its type annotations do not.
            self._row[:] = values  # type: ignore[assignment]
            if self._call(*self._arguments):
                _check(-1)
            return self._result.value


@cache
def _library() -> ctypes.PyDLL:
    """Load the wheel's own library. PyDLL keeps the GIL: a call of 5 µs is not worth releasing."""
    names = {"lib_lightgbm.so", "lib_lightgbm.dylib", "lib_lightgbm.dll"}
    libraries = [file for file in files("lightgbm") or () if file.name in names]
    if not libraries:
        raise ScorerError("lightgbm is installed without its shared library")
    library = ctypes.PyDLL(str(libraries[0].locate()))
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library


def _check(status: int) -> None:
    if status != 0:
        raise ScorerError(_library().LGBM_GetLastError().decode("utf-8", "replace"))


def _free(library: ctypes.PyDLL, model: ctypes.c_void_p, fast: ctypes.c_void_p) -> None:
    # The configuration is freed first because it points to the model. A null handle is ignored.
    library.LGBM_FastConfigFree(fast)
    library.LGBM_BoosterFree(model)
