"""The training set as the learner sees it: matrix, labels, keys of the rows, content hash.

Reading the Delta table is not here but in `lake/`; its schema is in `training_set_schema.py`.
"""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from diabetes_platform.contract.fields import FEATURE_NAMES, FIELD_NAMES, OUTCOME
from diabetes_platform.contract.tables import RECORD_ID, TRAINING_SET, intake_of

if TYPE_CHECKING:
    import pyarrow as pa

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class TrainingSetError(ValueError):
    """Rows that a model cannot be trained on; the message names field, given and allowed."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """Labelled rows in canonical order: sorted by their content, whatever order they came in.

    `features` is (rows, features) float64 in the contract's feature order and units, NaN where
    missing; `outcomes` is (rows,) of 0 and 1. `measurement_keys` are SHA-256 of each row's
    measurements without the outcome: equal keys are the same patient seen again, in this batch or
    in another. So are equal `intakes`, of patients whom the stream brought. `content_hash` is
    SHA-256 of all rows with their outcomes, without record ids: the same patients give the same
    hash, and the same model bytes, whatever batch brought them.
    """

    features: FloatArray
    outcomes: IntArray
    record_ids: tuple[str, ...]
    measurement_keys: tuple[str, ...]
    content_hash: str

    def __len__(self) -> int:
        return len(self.outcomes)

    @property
    def intakes(self) -> tuple[int | None, ...]:
        """The intake of each row that the stream brought, None of a row of a source."""
        return tuple(map(intake_of, self.record_ids))

    @property
    def prevalence(self) -> float:
        """The share of rows with outcome 1."""
        return float(self.outcomes.mean())


def training_set_from_arrow(table: "pa.Table") -> TrainingSet:
    """Read a table of `contract.tables.TRAINING_SET`, its rows in any order.

    Where a row came from teaches nothing: older versions do not tell it. Raises TrainingSetError
    where a column is absent or not numeric, or a row has no outcome.
    """
    needed = (RECORD_ID.name, *FIELD_NAMES)
    absent = [name for name in needed if name not in table.column_names]
    if absent:
        raise TrainingSetError(
            f"{TRAINING_SET.name}: columns: given {', '.join(table.column_names) or 'none'}, "
            f"absent {', '.join(absent)}"
        )
    columns = {name: numeric_column(table, name) for name in FIELD_NAMES}
    features = np.column_stack([columns[name] for name in FEATURE_NAMES])
    return training_set(features, columns[OUTCOME.name], table[RECORD_ID.name].to_pylist())


def training_set(
    features: npt.ArrayLike, outcomes: npt.ArrayLike, record_ids: "list[str] | tuple[str, ...]"
) -> TrainingSet:
    """Build a TrainingSet from (rows, features) in contract order, (rows,) and their record ids.

    Raises TrainingSetError for no rows, a wrong shape, an infinite value or a foreign outcome.
    """
    matrix = np.array(features, dtype=np.float64, order="C")
    labels = np.array(outcomes, dtype=np.float64)
    _check(matrix, labels, record_ids)
    matrix[matrix == 0] = 0.0  # -0.0 and 0.0 are one measurement and must have one key
    matrix[np.isnan(matrix)] = np.nan  # one bit pattern for missing
    keys = [hashlib.sha256(row.tobytes()).hexdigest() for row in matrix]
    contents = [f"{key}{label:.0f}" for key, label in zip(keys, labels, strict=True)]
    order = sorted(range(len(contents)), key=lambda row: (contents[row], record_ids[row]))
    digest = hashlib.sha256("\n".join(contents[row] for row in order).encode()).hexdigest()
    return TrainingSet(
        features=_frozen(matrix[order]),
        outcomes=_frozen(labels[order].astype(np.int64)),
        record_ids=tuple(record_ids[row] for row in order),
        measurement_keys=tuple(keys[row] for row in order),
        content_hash=digest,
    )


def numeric_column(table: "pa.Table", name: str) -> FloatArray:
    """Return a column as float64, NaN where NULL; TrainingSetError where it holds no numbers."""
    import pyarrow as pa

    column = table[name].combine_chunks()
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise TrainingSetError(f"{name}: type: given {column.type}, allowed a number")
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _check(
    matrix: FloatArray, labels: FloatArray, record_ids: "list[str] | tuple[str, ...]"
) -> None:
    expected = (len(record_ids), len(FEATURE_NAMES))
    if matrix.shape != expected or labels.shape != expected[:1]:
        raise TrainingSetError(
            f"training set: shape: given {matrix.shape} and {labels.shape}, "
            f"allowed {expected} and {expected[:1]}"
        )
    if not len(labels):
        raise TrainingSetError(f"{TRAINING_SET.name}: rows: given 0, allowed at least 1")
    infinite = np.isinf(matrix).any(axis=0)
    if infinite.any():
        names = ", ".join(np.array(FEATURE_NAMES)[infinite])
        raise TrainingSetError(f"{names}: given an infinite value, allowed finite or missing")
    foreign = int((~np.isin(labels, OUTCOME.allowed or ())).sum())
    if foreign:
        raise TrainingSetError(
            f"{OUTCOME.name}: given {foreign} rows without an allowed value, "
            f"allowed {OUTCOME.allowed_text}"
        )


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.setflags(write=False)
    return array
