"""The expectations of a staged batch, rendered from the contract for Great Expectations.

This module does not import Great Expectations, because Dagster's code location imports it to
declare the asset checks.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from diabetes_platform.contract.fields import FEATURES, FIELDS, OUTCOME, Field
from diabetes_platform.contract.tables import (
    BATCH_ID,
    RECORD_ID,
    SOURCE,
    STAGING_PATIENTS,
    STREAM_PATIENTS,
    ColumnType,
    filled_name,
    normed_name,
)

Severity = Literal["error", "warning"]
Kwargs = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Partition:
    """A histogram: `bins` are n + 1 increasing edges, `weights` are n shares with the sum 1."""

    bins: tuple[float, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PreviousBatch:
    """The promoted version of the table: row count, and a histogram of each measured feature."""

    row_count: int
    partitions: Mapping[str, Partition]


@dataclass(frozen=True, slots=True)
class ExpectationSpec:
    """One expectation; `name` is stable and names the Dagster asset check.

    `type` is the expectation's name in Great Expectations, `kwargs` its arguments. A failed
    `error` stops the batch, a failed `warning` does not. `compare` returns the arguments that
    depend on the promoted version, or None if that version has nothing to compare with.
    `statistic_of` names a field that joined the contract later: the expectation does not apply if
    neither the batch nor the promoted version measured it, as in older files.
    """

    name: str
    type: str
    kwargs: Kwargs
    severity: Severity
    description: str
    column: str | None = None
    compare: Callable[[PreviousBatch], Kwargs | None] | None = None
    statistic_of: str | None = None


def bound_kwargs(spec: ExpectationSpec, previous: PreviousBatch | None) -> Kwargs | None:
    """Return the complete arguments of `spec`, or None if it has nothing to compare with."""
    if spec.compare is None:
        return spec.kwargs
    comparison = None if previous is None else spec.compare(previous)
    return None if comparison is None else {**spec.kwargs, **comparison}


POSTGRESQL_TYPES: dict[ColumnType, str] = {
    "text": "TEXT",
    "integer": "INTEGER",
    "number": "DOUBLE PRECISION",
}
MINIMUM_MEASURED_SHARE = 0.1
"""With a smaller share of measured rows, a feature's statistics do not describe the batch."""
COLLAPSED_SHARE = 0.5
NEAR_SHARE = 0.2
NORMED_MEDIAN = 0.25
"""In interquartile ranges. Not 0, because rows that are rejected after the fit move the median."""
DISTRIBUTION_DIVERGENCE = 0.1
"""Kullback-Leibler divergence in nats; it is near 0.01 for two samples of 768 from one source."""
_NOT_FROM_THE_STREAM = {
    "type": "comparison",
    "column": {"name": SOURCE.name},
    "operator": "!=",
    "parameter": STREAM_PATIENTS.name,
}
"""A condition in Great Expectations' JSON form; its class would require the slow import."""


def _columns() -> list[ExpectationSpec]:
    columns = STAGING_PATIENTS.columns
    return [
        ExpectationSpec(
            "has_expected_columns",
            "expect_table_columns_to_match_set",
            {"column_set": list(STAGING_PATIENTS.column_names), "exact_match": True},
            "error",
            "The columns of the contract, in any order, and no others.",
        ),
        ExpectationSpec(
            "has_expected_column_types",
            "expect_table_columns_to_be_of_types",
            {"column_types": {column.name: POSTGRESQL_TYPES[column.type] for column in columns}},
            "error",
            "Each column has the contract's type.",
        ),
    ]


def _row_count() -> list[ExpectationSpec]:
    return [
        ExpectationSpec(
            "has_rows",
            "expect_table_row_count_to_be_between",
            {"min_value": 1},
            "error",
            "The batch is not empty.",
        ),
        ExpectationSpec(
            "row_count_not_collapsed",
            "expect_table_row_count_to_be_between",
            {},
            "error",
            f"At least {COLLAPSED_SHARE:.0%} of the rows of the promoted version.",
            compare=_not_collapsed,
        ),
        ExpectationSpec(
            "row_count_near_previous_batch",
            "expect_table_row_count_to_be_between",
            {},
            "warning",
            f"Within {NEAR_SHARE:.0%} of the row count of the promoted version.",
            compare=_near,
        ),
    ]


def _not_collapsed(previous: PreviousBatch) -> Kwargs:
    return {"min_value": math.ceil(previous.row_count * COLLAPSED_SHARE)}


def _near(previous: PreviousBatch) -> Kwargs:
    return {
        "min_value": math.ceil(previous.row_count * (1 - NEAR_SHARE)),
        "max_value": math.floor(previous.row_count * (1 + NEAR_SHARE)),
    }


def _distinct_patients() -> ExpectationSpec:
    return ExpectationSpec(
        "no_duplicate_patients",
        "expect_rows_to_be_distinct",
        {"column_list": [field.name for field in FIELDS]},
        "error",
        "No two rows have the same measurements and outcome.",
    )


def _no_missing() -> list[ExpectationSpec]:
    return [
        ExpectationSpec(
            f"no_missing_{column.name}",
            "expect_column_values_to_not_be_null",
            {"column": column.name},
            "error",
            f"Every row has a value. {column.description}",
            column.name,
        )
        for column in STAGING_PATIENTS.columns
        if not column.nullable
    ]


def _identity() -> list[ExpectationSpec]:
    unique = ExpectationSpec(
        "no_duplicate_record_ids",
        "expect_column_values_to_be_unique",
        {"column": RECORD_ID.name},
        "error",
        "No two rows come from the same place in the source.",
        RECORD_ID.name,
    )
    exactly_one = {"min_value": 1, "max_value": 1}
    single_batch = ExpectationSpec(
        "single_batch",
        "expect_column_unique_value_count_to_be_between",
        {"column": BATCH_ID.name, **exactly_one},
        "error",
        f"All rows belong to one batch. {BATCH_ID.description}",
        BATCH_ID.name,
    )
    single_source = ExpectationSpec(
        "single_source",
        "expect_column_unique_value_count_to_be_between",
        {"column": SOURCE.name, **exactly_one, "row_condition": _NOT_FROM_THE_STREAM},
        "error",
        f"All rows come from one file or from the stream. {SOURCE.description}",
        SOURCE.name,
    )
    return [unique, single_batch, single_source]


def _values(field: Field) -> list[ExpectationSpec]:
    """Return the rules for every value of `field`: set, range, whole numbers."""
    if field.allowed is not None:
        return [
            ExpectationSpec(
                f"{field.name}_allowed",
                "expect_column_values_to_be_in_set",
                {"column": field.name, "value_set": list(field.allowed)},
                "error",
                f"{field.label}: {field.allowed_text}.",
                field.name,
            )
        ]
    specs = [_in_range(field, field.name)]
    if not field.required:
        specs.append(_in_range(field, filled_name(field)))
    if field.kind == "integer":
        specs.append(
            ExpectationSpec(
                f"{field.name}_whole_numbers",
                "expect_column_values_to_be_whole_numbers",
                {"column": field.name},
                "error",
                f"{field.label}: {field.allowed_text}.",
                field.name,
            )
        )
    return specs


def _in_range(field: Field, column: str) -> ExpectationSpec:
    return ExpectationSpec(
        f"{column}_in_range",
        "expect_column_values_to_be_between",
        {"column": column, "min_value": field.minimum, "max_value": field.maximum},
        "error",
        f"{field.label}: {field.allowed_text}.",
        column,
    )


def _severity(field: Field) -> Severity:
    """Return `warning` for a field that older sources lack."""
    return "error" if field.original else "warning"


def _later(field: Field) -> str | None:
    return None if field.original else field.name


def measured_share_name(field: str) -> str:
    """Name the expectation about the share of rows in which an optional field is measured."""
    return f"enough_{field}_measured"


def _measured_often_enough(field: Field) -> ExpectationSpec:
    return ExpectationSpec(
        measured_share_name(field.name),
        "expect_column_proportion_of_non_null_values_to_be_between",
        {"column": field.name, "min_value": MINIMUM_MEASURED_SHARE},
        _severity(field),
        f"{field.label}: measured in at least {MINIMUM_MEASURED_SHARE:.0%} of the rows.",
        field.name,
        statistic_of=_later(field),
    )


def _both_outcomes() -> ExpectationSpec:
    return ExpectationSpec(
        "both_outcomes_present",
        "expect_column_unique_value_count_to_be_between",
        {"column": OUTCOME.name, "min_value": len(OUTCOME.allowed or ())},
        "error",
        "Patients with and patients without diabetes: a model cannot be trained on one class.",
        OUTCOME.name,
    )


def _plausible_mean(field: Field) -> ExpectationSpec:
    low, high = field.typical_mean
    unit = "" if field.unit in {"1", "count"} else f" {field.unit}"
    return ExpectationSpec(
        f"{field.name}_mean_plausible",
        "expect_column_mean_to_be_between",
        {"column": field.name, "min_value": low, "max_value": high},
        # The bounds are wide: a mean beyond them is a wrong unit or column.
        _severity(field),
        f"{field.label}: the mean lies within {low:g} to {high:g}{unit}.",
        field.name,
        statistic_of=_later(field),
    )


def _centred(field: Field) -> ExpectationSpec:
    column = normed_name(field)
    return ExpectationSpec(
        f"{column}_centred",
        "expect_column_median_to_be_between",
        {"column": column, "min_value": -NORMED_MEDIAN, "max_value": NORMED_MEDIAN},
        "warning",
        f"{field.label}: the median on the robust scale lies within {NORMED_MEDIAN} of 0.",
        column,
        statistic_of=_later(field),
    )


def _stable_distribution(field: Field) -> ExpectationSpec:
    def compare(previous: PreviousBatch) -> Kwargs | None:
        partition = previous.partitions.get(field.name)
        if partition is None:
            return None
        # The bins cover the contract's range, so that the tails are empty.
        return {
            "partition_object": {
                "bins": list(partition.bins),
                "weights": list(partition.weights),
                "tail_weights": [0.0, 0.0],
            }
        }

    return ExpectationSpec(
        f"{field.name}_distribution_near_previous_batch",
        "expect_column_kl_divergence_to_be_less_than",
        {"column": field.name, "threshold": DISTRIBUTION_DIVERGENCE},
        "warning",
        f"{field.label}: distributed like the promoted version.",
        field.name,
        compare,
    )


EXPECTATIONS: tuple[ExpectationSpec, ...] = (
    *_columns(),
    *_row_count(),
    _distinct_patients(),
    *_identity(),
    *_no_missing(),
    *(spec for field in FIELDS for spec in _values(field)),
    *(_measured_often_enough(field) for field in FEATURES if not field.required),
    _both_outcomes(),
    *(_plausible_mean(field) for field in FIELDS),
    *(_centred(field) for field in FEATURES),
    *(_stable_distribution(field) for field in FEATURES),
)
