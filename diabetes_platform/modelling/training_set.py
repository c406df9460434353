"""The training set as arrays with row keys and a content hash, and its pandera schema.

Reading the Delta table belongs in `training_set_snapshot.py` and `lake/`.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from diabetes_platform.contract.fields import (
    FEATURE_NAMES,
    FEATURES,
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

MIN_PATIENTS_PER_OUTCOME = 10
"""Two in each fold of the default recipe."""
_MAX_RECORD_IDS = 5
_PANDERA_CODES = {"not_nullable": MISSING, "field_uniqueness": DUPLICATE}


class TrainingSetError(ValueError):
    """A model cannot be trained on the rows; the message names the field and what is allowed."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """Labelled rows in canonical order, sorted by their content.

    `features` is (rows, features) float64 in the contract's feature order and units, NaN if
    missing; `outcomes` is (rows,) of 0 and 1. `measurement_keys` are the SHA-256 of each row's
    measurements without the outcome: rows with equal keys, or equal `intakes`, belong to one
    patient, within a batch and across batches. `content_hash` is the SHA-256 of all rows with their
    outcomes but without record ids, so that the same patients give the same hash and the same model
    bytes in any batch. Keys and hash do not include features that the table lacks.
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
        """The intake id of each row from the stream; None for a row of a source file."""
        return tuple(map(intake_id_of, self.record_ids))

    @property
    def prevalence(self) -> float:
        """The share of rows with outcome 1."""
        return float(self.outcomes.mean())

    def patients(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Return the first row of each patient, (patients,), and the patient of each row, (rows,).

        Rows with equal measurements belong to one patient.
        """
        _, first, patient = np.unique(self.measurement_keys, return_index=True, return_inverse=True)
        return first, patient


def too_few_outcomes(table: "pa.Table") -> str | None:
    """Return why no model can be trained on a table with an outcome in each row, or None."""
    outcomes = table[OUTCOME.name].to_pylist()
    counts = {outcome: outcomes.count(outcome) for outcome in OUTCOME.allowed or ()}
    if min(counts.values()) >= MIN_PATIENTS_PER_OUTCOME:
        return None
    text = ", ".join(f"{count} with outcome {outcome}" for outcome, count in counts.items())
    return f"patients: {text}; required: {MIN_PATIENTS_PER_OUTCOME} of each"


def matching_rows(
    rows: TrainingSet, reference: TrainingSet
) -> Iterator[tuple[int | None, int | None]]:
    """Yield for each row its position in `reference` by measurements, and by intake."""
    by_key = {key: row for row, key in enumerate(reference.measurement_keys)}
    by_intake = {intake: row for row, intake in enumerate(reference.intakes) if intake is not None}
    for key, intake in zip(rows.measurement_keys, rows.intakes, strict=True):
        yield by_key.get(key), None if intake is None else by_intake.get(intake)


def training_set_from_arrow(table: "pa.Table") -> TrainingSet:
    """Read a table of `contract.tables.TRAINING_SET`, its rows in any order.

    An older version may lack a feature that joined the contract later: an absent optional feature
    is NaN in every row. Raises TrainingSetError if any other column is absent or not numeric, or a
    row has no outcome.
    """
    required = [RECORD_ID.name, OUTCOME.name, *(f.name for f in FEATURES if f.required)]
    missing_columns = [name for name in required if name not in table.column_names]
    if missing_columns:
        raise TrainingSetError(
            f"{TRAINING_SET.name} has the columns {', '.join(table.column_names) or 'none'}; "
            f"absent: {', '.join(missing_columns)}"
        )
    return training_set(
        feature_matrix(table),
        numeric_column(table, OUTCOME.name),
        table[RECORD_ID.name].to_pylist(),
        absent=set(FEATURE_NAMES) - set(table.column_names),
    )


def training_set(
    features: npt.ArrayLike,
    outcomes: npt.ArrayLike,
    record_ids: Sequence[str],
    *,
    absent: Collection[str] = (),
) -> TrainingSet:
    """Build a TrainingSet from features (rows, features), outcomes (rows,) and record ids.

    Features are in contract order. `absent` names features that the source of the rows did not
    have: the keys and the content hash do not include them, so that an older version keeps its hash
    when the contract grows. Raises TrainingSetError for no rows, a wrong shape, an infinite value
    or an outcome other than 0 and 1.
    """
    matrix = np.array(features, dtype=np.float64, order="C")
    labels = np.array(outcomes, dtype=np.float64)
    _check(matrix, labels, record_ids)
    matrix[matrix == 0] = 0.0  # -0.0 and 0.0 must have one key
    matrix[np.isnan(matrix)] = np.nan  # one bit pattern for missing
    present = [index for index, name in enumerate(FEATURE_NAMES) if name not in absent]
    keys = [hashlib.sha256(row.tobytes()).hexdigest() for row in matrix[:, present]]
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


def feature_matrix(table: "pa.Table") -> FloatArray:
    """Return the features of a table, (rows, features) in contract order, with NaN for NULL."""
    return np.column_stack([numeric_column(table, name) for name in FEATURE_NAMES])


def numeric_column(table: "pa.Table", name: str) -> FloatArray:
    """Return a column as float64 with NaN for NULL; raises TrainingSetError if it is not numeric.

    An absent optional field is NaN in every row: the table is older than the field.
    """
    import pyarrow as pa

    if name not in table.column_names and not FIELDS_BY_NAME[name].required:
        return np.full(table.num_rows, np.nan)
    column = table[name].combine_chunks()
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise TrainingSetError(f"{name} has type {column.type}; allowed: a number")
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _check(matrix: FloatArray, labels: FloatArray, record_ids: Sequence[str]) -> None:
    expected = (len(record_ids), len(FEATURE_NAMES))
    if matrix.shape != expected or labels.shape != expected[:1]:
        raise TrainingSetError(
            f"training set has the shapes {matrix.shape} and {labels.shape}; "
            f"allowed: {expected} and {expected[:1]}"
        )
    if not len(labels):
        raise TrainingSetError(f"{TRAINING_SET.name} has no rows; allowed: at least 1")
    infinite = np.isinf(matrix).any(axis=0)
    if infinite.any():
        names = ", ".join(np.array(FEATURE_NAMES)[infinite])
        raise TrainingSetError(f"{names} has an infinite value; allowed: finite or missing")
    invalid = int((~np.isin(labels, OUTCOME.allowed or ())).sum())
    if invalid:
        raise TrainingSetError(
            f"{OUTCOME.name}: {invalid} rows without an allowed value; "
            f"allowed: {OUTCOME.allowed_text}"
        )


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.setflags(write=False)
    return array


def training_set_schema() -> "pandera.DataFrameSchema":
    """Return the pandera schema of `contract.tables.TRAINING_SET`.

    Measurements are float64 with NaN for missing values. The names of failed checks are the
    contract's reason codes.
    """
    import pandera.pandas as pandera

    columns = {
        column.name: _measured_column(FIELDS_BY_NAME[column.name])
        if column.name in FIELDS_BY_NAME
        else pandera.Column(str, nullable=column.nullable, unique=column.name in TRAINING_SET.key)
        for column in TRAINING_SET.columns
    }
    return pandera.DataFrameSchema(columns, strict=True, name=TRAINING_SET.name)


def validate_training_set(table: "pa.Table") -> None:
    """Validate every row against the contract; raises TrainingSetError with all violations.

    The message names field, rule, number of rows, record ids and allowed values, but no
    patient's value.
    """
    import pandera.errors

    frame = training_frame(table)
    try:
        training_set_schema().validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        raise TrainingSetError(_explain(errors.failure_cases, frame)) from None


def training_frame(table: "pa.Table") -> "pd.DataFrame":
    """Return the table as pandas, with measurements as float64 and NaN for missing values.

    A column that is not numeric keeps its type, and the schema rejects it.
    """
    frame = table.to_pandas()
    measured = [name for name in frame.select_dtypes("number") if name in FIELDS_BY_NAME]
    return frame.astype(dict.fromkeys(measured, "float64"))


def _measured_column(field: Field) -> "pandera.Column":
    import pandera.pandas as pandera

    checks = [pandera.Check(lambda values: values.abs() != float("inf"), error=NOT_FINITE)]
    if field.kind == "integer":
        checks.append(pandera.Check(lambda values: values % 1 == 0, error=NOT_AN_INTEGER))
    if field.allowed is not None:
        checks.append(pandera.Check.isin(field.allowed, error=NOT_ALLOWED))
    else:
        checks.append(pandera.Check.ge(field.minimum, error=BELOW_MINIMUM))
        checks.append(pandera.Check.le(field.maximum, error=ABOVE_MAXIMUM))
    nullable = not field.required and field is not OUTCOME
    return pandera.Column(float, checks, nullable=nullable)


def _explain(failures: "pd.DataFrame", frame: "pd.DataFrame") -> str:
    # In a column of the wrong type every other check fails as well.
    wrong_type = failures["check"].str.startswith("dtype")
    in_wrong_column = failures["column"].isin(failures["column"][wrong_type])
    lines = []
    for (column, check), cases in failures[wrong_type | ~in_wrong_column].groupby(
        ["column", "check"]
    ):
        # For a missing or unexpected column, pandera's `failure_case` is its name.
        name = str(cases["failure_case"].iloc[0] if check.startswith("column_in") else column)
        code = "type" if check.startswith("dtype") else _PANDERA_CODES.get(check, check)
        lines.append(f"{name}: {code}{_affected_rows(cases, frame)}; allowed: {_allowed(name)}")
    return f"{TRAINING_SET.name}: " + "; ".join(lines)


def _affected_rows(cases: "pd.DataFrame", frame: "pd.DataFrame") -> str:
    rows = cases["index"].dropna().astype(int)
    if rows.empty:
        return ""
    key = RECORD_ID.name
    ids = frame[key].iloc[rows[:_MAX_RECORD_IDS]] if key in frame else ()
    return f" in {len(rows)} rows ({', '.join(map(str, ids))})"


def _allowed(name: str) -> str:
    if name in FIELDS_BY_NAME:
        return FIELDS_BY_NAME[name].allowed_text
    return "text" if name in TRAINING_SET.column_names else ", ".join(TRAINING_SET.column_names)
