"""Real patients as the learner gets them, and variations of them."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from diabetes_platform.contract.fields import FEATURE_NAMES, FIELDS, Field
from diabetes_platform.contract.tables import TRAINING_SET
from diabetes_platform.contract.validation import parse
from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.training_set import TrainingSet, training_set
from diabetes_platform.settings import PIMA_CSV
from diabetes_platform_tests.samples import pima_rows

SMALL = Recipe(num_iterations=25, learning_rate=0.15, folds=4, repeats=1)
"""A recipe that trains in milliseconds, for tests about anything but quality."""

_ARROW = {"text": pa.string(), "integer": pa.int32(), "number": pa.float64()}


def pima_table(batch_id: str = "0123456789ab") -> pa.Table:
    """The 768 real patients as `features/training_set`, codes for missing read as NULL."""
    received = pima_rows()
    columns: dict[str, list[object]] = {
        field.name: [_read(field, row.get(field.name)) for row in received] for field in FIELDS
    }
    columns["record_id"] = [f"{batch_id}-{line}" for line in range(2, 2 + len(received))]
    columns["source"] = [PIMA_CSV.name] * len(received)
    columns["batch_id"] = [batch_id] * len(received)
    schema = pa.schema([(column.name, _ARROW[column.type]) for column in TRAINING_SET.columns])
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def by_intake(rows: TrainingSet, row: int, intake: int) -> TrainingSet:
    """The same rows in the same order, one of which the stream brought."""
    ids = list(rows.record_ids)
    ids[row] = f"0123456789ab-intake-{intake}"
    return replace(rows, record_ids=tuple(ids))


def relabelled(rows: TrainingSet, outcomes: npt.ArrayLike) -> TrainingSet:
    """The same rows in the same order with other outcomes."""
    return replace(rows, outcomes=np.asarray(outcomes, dtype=np.int64))


def remeasured(rows: TrainingSet, name: str, values: npt.ArrayLike) -> TrainingSet:
    """The same rows in the same order with one measurement overwritten."""
    features = rows.features.copy()
    features[:, FEATURE_NAMES.index(name)] = values
    return replace(rows, features=features)


def chosen(rows: TrainingSet, members: npt.NDArray[np.bool_]) -> TrainingSet:
    """A part of the rows."""
    ids = [name for name, member in zip(rows.record_ids, members, strict=True) if member]
    return training_set(rows.features[members], rows.outcomes[members], ids)


def _read(field: Field, text: str | None) -> float | int | None:
    value = parse(field, text).value
    return int(value) if field.kind == "integer" and value is not None else value
