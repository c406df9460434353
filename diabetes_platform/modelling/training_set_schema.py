"""The contract's rules for the training set, rendered for pandera."""

from typing import TYPE_CHECKING

from diabetes_platform.contract.fields import FIELDS, FIELDS_BY_NAME, OUTCOME, Field
from diabetes_platform.contract.tables import TRAINING_SET
from diabetes_platform.contract.validation import (
    ABOVE_MAXIMUM,
    BELOW_MINIMUM,
    DUPLICATE,
    MISSING,
    NOT_ALLOWED,
    NOT_AN_INTEGER,
    NOT_FINITE,
)
from diabetes_platform.modelling.training_set import TrainingSetError

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pandera
    import pyarrow as pa

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
