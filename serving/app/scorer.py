"""LightGBM behind one small door: a fast score of one row, a matrix of them, contributions.

One row goes through LightGBM's C API (`LGBM_BoosterPredictForMatSingleRowFast`), which costs a
fifth of `Booster.predict`. `verify` holds both to the same scores before a model is used.
"""

import ctypes
import threading
import weakref
from collections.abc import Sequence
from functools import cache
from importlib.metadata import files

import lightgbm
import numpy as np
from numpy.typing import NDArray

_RAW_SCORE = 1  # C_API_PREDICT_RAW_SCORE
_FLOAT64 = 1  # C_API_DTYPE_FLOAT64
_ALL_ITERATIONS = -1


class ScorerError(ValueError):
    """A model text that LightGBM does not read, or that is no model of these features."""


@cache
def _library() -> ctypes.PyDLL:
    """Load the wheel's own library; PyDLL keeps the GIL, which a call of 5 µs is not worth."""
    names = {"lib_lightgbm.so", "lib_lightgbm.dylib", "lib_lightgbm.dll"}
    found = [file for file in files("lightgbm") or () if file.name in names]
    if not found:
        raise ScorerError("lightgbm is installed without its shared library")
    library = ctypes.PyDLL(str(found[0].locate()))
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library


def _check(status: int) -> None:
    if status != 0:
        raise ScorerError(_library().LGBM_GetLastError().decode("utf-8", "replace"))


class SingleRow:
    """One model's C handle; `score` may be called from any thread."""

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

    def score(self, row: list[float]) -> float:
        """Return the raw score of `row` (NaN where missing), in the model's column order."""
        with self._lock:
            # ctypes takes plain floats, which its types do not say.
            self._row[:] = row  # type: ignore[assignment]
            if self._call(*self._arguments):
                _check(-1)
            return self._result.value


def _free(library: ctypes.PyDLL, model: ctypes.c_void_p, fast: ctypes.c_void_p) -> None:
    # The configuration first: it points to the model. Freeing a handle never set does nothing.
    library.LGBM_FastConfigFree(fast)
    library.LGBM_BoosterFree(model)


class Scorer:
    """A LightGBM model of one score per row, read from its text format."""

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
        self._single_row = SingleRow(model_text, len(features))
        self.score = self._single_row.score

    def score_all(self, rows: list[list[float]]) -> list[float]:
        """Return the raw score of each row."""
        scores: list[float] = self._predict(rows, raw_score=True).tolist()
        return scores

    def contributions(self, rows: list[list[float]]) -> list[list[float]]:
        """Return for each row the SHAP value of each column, then the bias, in raw score."""
        values: list[list[float]] = self._predict(rows, pred_contrib=True).tolist()
        return values

    def verify(self, rows: list[list[float]]) -> None:
        """Raise ScorerError where the fast path and `Booster.predict` differ in any bit."""
        for row, expected in zip(rows, self.score_all(rows), strict=True):
            given = self.score(row)
            if given != expected:
                raise ScorerError(f"fast score {given!r} differs from Booster.predict {expected!r}")

    def _predict(self, rows: list[list[float]], **kind: bool) -> NDArray[np.float64]:
        # One thread: the API's workers are the parallelism, and a small batch is not worth more.
        matrix = np.asarray(rows, dtype=np.float64)
        return np.asarray(self._booster.predict(matrix, num_threads=1, **kind))
