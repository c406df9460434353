"""LightGBM's C API for one row (`LGBM_BoosterPredictForMatSingleRowFast`): any model it reads.

It costs a fifth of `Booster.predict`, which copies a matrix first.
"""

import ctypes
import math
import threading
import weakref
from collections.abc import Sequence
from functools import cache
from importlib.metadata import files

Row = Sequence[float | None]
"""The measurements in a model's column order, None where missing."""

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

    def score(self, row: Row) -> float:
        """Return the raw score of `row`, in the model's column order."""
        values = [math.nan if value is None else value for value in row]
        with self._lock:
            # ctypes takes plain floats, which its types do not say.
            self._row[:] = values  # type: ignore[assignment]
            if self._call(*self._arguments):
                _check(-1)
            return self._result.value


def _free(library: ctypes.PyDLL, model: ctypes.c_void_p, fast: ctypes.c_void_p) -> None:
    # The configuration first: it points to the model. Freeing a handle never set does nothing.
    library.LGBM_FastConfigFree(fast)
    library.LGBM_BoosterFree(model)
