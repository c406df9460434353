"""What a released model answers for rows in the contract's feature order, as serving does."""

from typing import TYPE_CHECKING

import numpy as np

from diabetes_platform.contract.bundle import MODEL_FILE
from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.modelling.store import ModelVersion
from diabetes_platform.modelling.training import calibrated, raw_scores
from diabetes_platform.modelling.training_set import FloatArray, numeric_column

if TYPE_CHECKING:
    import pyarrow as pa

SAME = 1e-9
"""So much may a probability differ that was computed twice and stored as a double."""


def answers(model: ModelVersion, features: FloatArray) -> FloatArray:
    """Return the probability, (rows,), of (rows, features) in contract order, NaN where missing.

    The columns go in the order of the bundle, which must be that of the model's own text:
    ValueError where it is not.
    """
    import lightgbm

    trees: lightgbm.Booster = lightgbm.Booster(model_str=model.files[MODEL_FILE].decode())
    named = tuple(trees.feature_name())
    if named != model.bundle.features:
        raise ValueError(
            f"columns of {MODEL_FILE}: given {named}, allowed those of the bundle: "
            f"{model.bundle.features}"
        )
    order = [FEATURE_NAMES.index(name) for name in model.bundle.features]
    scores = raw_scores(trees, np.ascontiguousarray(features[:, order]))
    return calibrated(model.bundle.calibration, scores)


def feature_matrix(table: "pa.Table") -> FloatArray:
    """Return the measurements of a table, (rows, features) in contract order, NaN where NULL."""
    return np.column_stack([numeric_column(table, name) for name in FEATURE_NAMES])
