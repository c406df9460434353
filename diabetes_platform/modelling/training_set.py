"""The training set as arrays with row keys and a content hash, and its pandera schema.

Reading the Delta table belongs in `training_set_snapshot.py` and `lake/`.
"""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from diabetes_platform.contract.fields import (
    FEATURE_NAMES,
    FIELD_NAMES,
    FIELDS,
    FIELDS_BY_NAME,
    OUTCOME,
    Field,
)
from diabetes_platform.contract.tables import RECORD_ID, TRAINING_SET, intake_id_of
from diabetes_platform.contract.validation import (
    ABOVE_MAXIMUM,
    BELOW_MINIMUM,
    DUPLICATE,
    MISSING,
    NOT_ALLOWED,
    NOT_AN_INTEGER,
    NOT_FINITE,
)

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pandera
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
        return tuple(map(intake_id_of, self.record_ids))

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


_SHOWN_ROWS = 5


def training_set_schema() -> "pandera.DataFrameSchema":
    """Return the pandera schema of `contract.tables.TRAINING_SET`.

    Measurements are float64 with NaN where missing. Every check's error is the contract's code.
    """
    import pandera.pandas as pandera

    measured = {field.name: field for field in FIELDS}
    columns = {
        column.name: _measured_column(measured[column.name])
        if column.name in measured
        else pandera.Column(str, nullable=column.nullable, unique=column.name in TRAINING_SET.key)
        for column in TRAINING_SET.columns
    }
    return pandera.DataFrameSchema(columns, strict=True, name=TRAINING_SET.name)


def validate_training_set(table: "pa.Table") -> None:
    """Hold every row to the contract; raises TrainingSetError with all that is wrong.

    The message names field, broken rule, number of rows, record ids and what is allowed: never
    a patient's value.
    """
    import pandera.errors

    frame = training_frame(table)
    try:
        training_set_schema().validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        raise TrainingSetError(_explain(errors.failure_cases, frame)) from None


def training_frame(table: "pa.Table") -> "pd.DataFrame":
    """Return the table as pandas, its measurements as float64 with NaN where missing.

    A column that is not numeric is left as it is, for the schema to refuse.
    """
    import pyarrow as pa

    for index, name in enumerate(table.column_names):
        kind = table.schema.field(index).type
        if name in FIELDS_BY_NAME and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            table = table.set_column(index, name, table[name].cast(pa.float64()))
    return table.to_pandas()


def _measured_column(field: Field) -> "pandera.Column":
    import pandera.pandas as pandera

    checks = [pandera.Check(_is_finite, error=NOT_FINITE)]
    if field.kind == "integer":
        checks.append(pandera.Check(_is_whole, error=NOT_AN_INTEGER))
    if field.allowed is not None:
        checks.append(pandera.Check.isin(field.allowed, error=NOT_ALLOWED))
    else:
        checks.append(pandera.Check.ge(field.minimum, error=BELOW_MINIMUM))
        checks.append(pandera.Check.le(field.maximum, error=ABOVE_MAXIMUM))
    nullable = not field.required and field is not OUTCOME
    return pandera.Column(float, checks, nullable=nullable)


def _is_finite(values: "pd.Series[float]") -> "pd.Series[bool]":
    return values.abs() != float("inf")


def _is_whole(values: "pd.Series[float]") -> "pd.Series[bool]":
    return values % 1 == 0


_PANDERA_CODES = {"not_nullable": MISSING, "field_uniqueness": DUPLICATE}


def _explain(failures: "pd.DataFrame", frame: "pd.DataFrame") -> str:
    # In a column of another type every other check fails too, and says nothing more.
    of_type = failures["check"].str.startswith("dtype")
    spoiled = failures["column"].isin(failures["column"][of_type])
    lines = []
    for (column, check), cases in failures[of_type | ~spoiled].groupby(["column", "check"]):
        # pandera names a missing or foreign column in `failure_case`, the table in `column`.
        name = str(cases["failure_case"].iloc[0] if check.startswith("column_in") else column)
        code = "type" if check.startswith("dtype") else _PANDERA_CODES.get(check, check)
        lines.append(f"{name}: {code}{_where(cases, frame)}, allowed {_allowed(name)}")
    return f"{TRAINING_SET.name}: " + "; ".join(lines)


def _where(cases: "pd.DataFrame", frame: "pd.DataFrame") -> str:
    rows = cases["index"].dropna()
    if rows.empty:
        return ""
    key = TRAINING_SET.key[0]
    known = frame[key].iloc[rows[:_SHOWN_ROWS].astype(int)].tolist() if key in frame else []
    return f": given {len(rows)} rows ({', '.join(map(str, known))})"


def _allowed(name: str) -> str:
    field = FIELDS_BY_NAME.get(name)
    if field is not None:
        return field.allowed_text
    return ", ".join(TRAINING_SET.column_names) if name not in TRAINING_SET.column_names else "text"
