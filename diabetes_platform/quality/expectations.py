"""The expectations of a staged batch, rendered from the contract for Great Expectations.

This module does not import Great Expectations, because Dagster's code location imports it to
declare the asset checks.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from diabetes_platform.contract.fields import FEATURES, FIELDS, OUTCOME, Field
from diabetes_platform.contract.tables import (
    BATCH_ID,
    RECORD_ID,
    SOURCE,
    STAGING_PATIENTS,
    STREAM_PATIENTS,
    Column,
    ColumnType,
    filled_name,
    normed_name,
)

Severity = Literal["error", "warning"]
Kwargs = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Partition:
    """A histogram: `bins` are n + 1 increasing edges, `weights` are n shares with the sum 1.

    `count` is the number of values.
    """

    bins: tuple[float, ...]
    weights: tuple[float, ...]
    count: int


@dataclass(frozen=True, slots=True)
class PreviousBatch:
    """The promoted version of the table, with which a batch is compared.

    `partitions` has a histogram of each measured feature, and `outcome_share` the share of outcome
    1 among the `outcome_count` outcomes in the rows of the source, None without outcomes. The first
    batch is compared with the contract's reference statistics (`is_reference`), whose row count
    says nothing about it.
    """

    row_count: int
    partitions: Mapping[str, Partition]
    outcome_share: float | None = None
    outcome_count: int = 0
    is_reference: bool = False


@dataclass(frozen=True, slots=True)
class ExpectationSpec:
    """One expectation; `name` is stable and names the Dagster asset check.

    `type` is the expectation's name in Great Expectations, `kwargs` its arguments. A failed
    `error` stops the batch, a failed `warning` does not. `compare` returns the arguments that
    depend on the promoted version, or None if that version has nothing to compare with.
    `is_severe` decides from the promoted version, the observed value and the number of values
    whether a failed warning stops the batch as an error does. An operator can accept the failure of
    an `acceptable` expectation: it compares statistics, so a real change of the patients violates
    it.
    `statistic_of` names a field that joined the contract later: the expectation does not apply if
    neither the batch nor the promoted version measured it, as in older files.
    """

    name: str
    type: str
    kwargs: Kwargs
    severity: Severity
    description: str
    compare: Callable[[PreviousBatch], Kwargs | None] | None = None
    is_severe: Callable[[PreviousBatch, float, int], bool] | None = None
    acceptable: bool = False
    statistic_of: str | None = None

    @property
    def may_block(self) -> bool:
        """Whether a failure can stop the batch."""
        return self.severity == "error" or self.is_severe is not None

    @property
    def of_the_source(self) -> bool:
        """Whether it excludes the patients of the stream, whose outcomes are confirmed later."""
        return self.kwargs.get("row_condition") == _NOT_FROM_THE_STREAM

    @property
    def column(self) -> str | None:
        """The column that the expectation is about; None for the whole table."""
        column: str | None = self.kwargs.get("column")
        return column


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
HAS_ROWS = "has_rows"
HAS_COLUMNS = "has_expected_columns"
HAS_COLUMN_TYPES = "has_expected_column_types"
MINIMUM_MEASURED_SHARE = 0.1
"""With a smaller share of measured rows, a feature's statistics do not describe the batch."""
COLLAPSED_SHARE = 0.5
NEAR_SHARE = 0.2
NORMED_MEDIAN = 0.25
"""In interquartile ranges. Not 0, because rows that are rejected after the fit move the median."""
DISTRIBUTION_DIVERGENCE = 0.1
"""Kullback-Leibler divergence in nats; it is near 0.01 for two samples of 768 from one source."""
SEVERE_DIVERGENCE = 0.2
"""Random halves of the Pima data are 0.12 apart at most, the most similar columns 0.21."""
_CHANCE_DIVERGENCE = 15.0
"""Twice the divergence of samples of n and m values, divided by 1/n + 1/m, is distributed as
chi-squared with at most 10 degrees of freedom: 30 is its quantile 0.999."""
OUTCOME_DIFFERENCE = 0.1
SEVERE_OUTCOME_DIFFERENCE = 0.2
_CHANCE_DEVIATIONS = 4.0
MIN_PATIENTS_TO_COMPARE = 5
"""The mean of a field is compared between outcomes if each has this number of patients."""
SMALL_EFFECT = 0.2
"""In standard deviations. Glucose of patients with diabetes is higher by 1.1 in the Pima data."""
_CHANCE_ERRORS = 2.0
"""In standard errors of the difference of two means: chance exceeds it in 2.3 % of all samples."""
_NOT_FROM_THE_STREAM = {
    "type": "comparison",
    "column": {"name": SOURCE.name},
    "operator": "!=",
    "parameter": STREAM_PATIENTS.name,
}
"""A condition in Great Expectations' JSON form; its class would require the slow import."""


_VALUES = ", ".join(f'"{field.name}"' for field in FIELDS)
_REPEATED_ROWS = f"""
SELECT record_id FROM (
  SELECT record_id, count(*) OVER (PARTITION BY {_VALUES}) AS copies FROM {{batch}}
) AS counted WHERE copies > 1 ORDER BY record_id"""  # noqa: S608 - names of the contract
"""NULLs are equal here. ExpectCompoundColumnsToBeUnique compares with SQL's `=`, where they are
not, and so misses repeated rows without an insulin value."""
_EXACTLY_ONE = {"min_value": 1, "max_value": 1}


def _not_collapsed(previous: PreviousBatch) -> Kwargs | None:
    if previous.is_reference:
        return None
    return {"min_value": math.ceil(previous.row_count * COLLAPSED_SHARE)}


def _near(previous: PreviousBatch) -> Kwargs | None:
    if previous.is_reference:
        return None
    return {
        "min_value": math.ceil(previous.row_count * (1 - NEAR_SHARE)),
        "max_value": math.floor(previous.row_count * (1 + NEAR_SHARE)),
    }


_OF_THE_TABLE = (
    ExpectationSpec(
        HAS_COLUMNS,
        "expect_table_columns_to_match_set",
        {"column_set": list(STAGING_PATIENTS.column_names), "exact_match": True},
        "error",
        "The columns of the contract, in any order, and no others.",
    ),
    ExpectationSpec(
        HAS_COLUMN_TYPES,
        "expect_table_columns_to_be_of_types",
        {"column_types": {c.name: POSTGRESQL_TYPES[c.type] for c in STAGING_PATIENTS.columns}},
        "error",
        "Each column has the contract's type.",
    ),
    ExpectationSpec(
        HAS_ROWS,
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
        acceptable=True,
    ),
    ExpectationSpec(
        "row_count_near_previous_batch",
        "expect_table_row_count_to_be_between",
        {},
        "warning",
        f"Within {NEAR_SHARE:.0%} of the row count of the promoted version.",
        compare=_near,
    ),
    ExpectationSpec(
        "no_duplicate_patients",
        "expect_query_to_return_no_records",
        {"unexpected_rows_query": _REPEATED_ROWS},
        "error",
        "No two rows have the same measurements and outcome.",
    ),
    ExpectationSpec(
        "no_duplicate_record_ids",
        "expect_column_values_to_be_unique",
        {"column": RECORD_ID.name},
        "error",
        "No two rows come from the same place in the source.",
    ),
    ExpectationSpec(
        "single_batch",
        "expect_column_unique_value_count_to_be_between",
        {"column": BATCH_ID.name, **_EXACTLY_ONE},
        "error",
        f"All rows belong to one batch. {BATCH_ID.description}",
    ),
    ExpectationSpec(
        "single_source",
        "expect_column_unique_value_count_to_be_between",
        {"column": SOURCE.name, **_EXACTLY_ONE, "row_condition": _NOT_FROM_THE_STREAM},
        "error",
        f"All rows come from one file or from the stream. {SOURCE.description}",
    ),
)


def _no_missing(column: Column) -> ExpectationSpec:
    return ExpectationSpec(
        f"no_missing_{column.name}",
        "expect_column_values_to_not_be_null",
        {"column": column.name},
        "error",
        f"Every row has a value. {column.description}",
    )


def _values(field: Field) -> Iterator[ExpectationSpec]:
    """Yield the rules for every value of `field`: set, range, whole numbers."""
    text = f"{field.label}: {field.allowed_text}."
    if field.allowed is not None:
        kwargs: Kwargs = {"column": field.name, "value_set": list(field.allowed)}
        kind = "expect_column_values_to_be_in_set"
        yield ExpectationSpec(f"{field.name}_allowed", kind, kwargs, "error", text)
        return
    for column in (field.name,) if field.required else (field.name, filled_name(field)):
        kwargs = {"column": column, "min_value": field.minimum, "max_value": field.maximum}
        kind = "expect_column_values_to_be_between"
        yield ExpectationSpec(f"{column}_in_range", kind, kwargs, "error", text)
    if field.kind == "integer":
        kwargs, kind = {"column": field.name}, "expect_column_values_to_be_whole_numbers"
        yield ExpectationSpec(f"{field.name}_whole_numbers", kind, kwargs, "error", text)


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
        acceptable=True,
        statistic_of=_later(field),
    )


BOTH_OUTCOMES = "both_outcomes_present"
_BOTH_OUTCOMES = ExpectationSpec(
    BOTH_OUTCOMES,
    "expect_column_unique_value_count_to_be_between",
    {
        "column": OUTCOME.name,
        "min_value": len(OUTCOME.allowed or ()),
        "row_condition": _NOT_FROM_THE_STREAM,
    },
    "error",
    "The source has patients with and without diabetes, or no outcomes at all: then its patients "
    "are served, not trained on.",
)


def _plausible_mean(field: Field) -> ExpectationSpec:
    low, high = field.typical_mean
    unit = "" if field.unit in {"1", "count"} else f" {field.unit}"
    return ExpectationSpec(
        f"{field.name}_mean_plausible",
        "expect_column_mean_to_be_between",
        {
            "column": field.name,
            "min_value": low,
            "max_value": high,
            # Few outcomes are confirmed through the stream, at first perhaps of one class.
            **({"row_condition": _NOT_FROM_THE_STREAM} if field is OUTCOME else {}),
        },
        # The bounds are wide: a mean beyond them is a wrong unit or column.
        _severity(field),
        f"{field.label}: the mean lies within {low:g} to {high:g}{unit}.",
        acceptable=True,
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
        statistic_of=_later(field),
    )


def _stable_distribution(field: Field) -> ExpectationSpec:
    def compare(previous: PreviousBatch) -> Kwargs | None:
        if (partition := previous.partitions.get(field.name)) is None:
            return None
        # The outer bins reach to the ends of the contract's range, which may have grown since, so
        # that the tails are empty.
        first, *inner, last = partition.bins
        bins = [min(first, float(field.minimum)), *inner, max(last, float(field.maximum))]
        histogram = {"bins": bins, "weights": list(partition.weights)}
        return {"partition_object": {**histogram, "tail_weights": [0.0, 0.0]}}

    def is_other_distribution(previous: PreviousBatch, divergence: float, count: int) -> bool:
        previous_count = previous.partitions[field.name].count
        chance = _CHANCE_DIVERGENCE * (1 / max(count, 1) + 1 / max(previous_count, 1))
        return divergence > max(SEVERE_DIVERGENCE, chance)

    return ExpectationSpec(
        f"{field.name}_distribution_near_previous_batch",
        "expect_column_kl_divergence_to_be_less_than",
        {"column": field.name, "threshold": DISTRIBUTION_DIVERGENCE},
        "warning",
        f"{field.label}: distributed like the promoted version, or like the reference statistics "
        f"if that has no value; beyond {SEVERE_DIVERGENCE} the batch stops.",
        compare,
        is_other_distribution,
        acceptable=True,
    )


def _near_outcome_share(previous: PreviousBatch) -> Kwargs | None:
    if previous.outcome_share is None:
        return None
    return {
        "min_value": max(previous.outcome_share - OUTCOME_DIFFERENCE, 0.0),
        "max_value": min(previous.outcome_share + OUTCOME_DIFFERENCE, 1.0),
    }


def _is_other_outcome_share(previous: PreviousBatch, share: float, count: int) -> bool:
    if previous.outcome_share is None:
        return False
    variance = (1 / max(count, 1) + 1 / max(previous.outcome_count, 1)) / 4
    limit = max(SEVERE_OUTCOME_DIFFERENCE, _CHANCE_DEVIATIONS * math.sqrt(variance))
    return abs(share - previous.outcome_share) > limit


_STABLE_OUTCOME_SHARE = ExpectationSpec(
    "outcome_share_near_previous_batch",
    "expect_column_mean_to_be_between",
    {"column": OUTCOME.name, "row_condition": _NOT_FROM_THE_STREAM},
    "warning",
    f"The share of patients with diabetes is within {OUTCOME_DIFFERENCE:.0%} of that of the "
    "promoted version, or of the reference statistics if that has no outcome; beyond "
    f"{SEVERE_OUTCOME_DIFFERENCE:.0%} the batch stops.",
    _near_outcome_share,
    _is_other_outcome_share,
    acceptable=True,
)


def _rises_with_outcome(field: Field) -> ExpectationSpec:
    """Expect a higher mean with diabetes: inverted outcomes have the opposite.

    It fails if the difference of the means is smaller than a small effect by more than chance
    explains, so that the means of few patients may have any order.
    """
    count, mean, variance = (
        [f"""{function}("{field.name}") FILTER (WHERE "{OUTCOME.name}" = {n})""" for n in (0, 1)]
        for function in ("count", "avg", "var_samp")
    )
    enough = " AND ".join(f"{number} >= {MIN_PATIENTS_TO_COMPARE}" for number in count)
    error = f"sqrt({variance[0]} / {count[0]} + {variance[1]} / {count[1]})"
    small = f"{SMALL_EFFECT} * sqrt(({variance[0]} + {variance[1]}) / 2)"
    query = (
        f"SELECT min(record_id) AS record_id FROM {{batch}}"  # noqa: S608 - names of the contract
        f" HAVING {enough} AND {mean[1]} - {mean[0]} + {_CHANCE_ERRORS} * {error} < {small}"
    )
    return ExpectationSpec(
        f"{field.name}_higher_with_{OUTCOME.name}",
        "expect_query_to_return_no_records",
        {"unexpected_rows_query": query},
        "error",
        f"{field.label}: the mean of patients with diabetes is higher than that of the others, "
        f"by {SMALL_EFFECT} standard deviations unless chance explains a smaller difference.",
        acceptable=True,
    )


EXPECTATIONS: tuple[ExpectationSpec, ...] = (
    *_OF_THE_TABLE,
    *(_no_missing(column) for column in STAGING_PATIENTS.columns if not column.nullable),
    *(spec for field in FIELDS for spec in _values(field)),
    *(_measured_often_enough(field) for field in FEATURES if not field.required),
    _BOTH_OUTCOMES,
    *(_plausible_mean(field) for field in FIELDS),
    *(_centred(field) for field in FEATURES),
    *(_stable_distribution(field) for field in FEATURES),
    _STABLE_OUTCOME_SHARE,
    *(_rises_with_outcome(field) for field in FEATURES if field.rises_with_outcome),
)
ACCEPTABLE = frozenset(spec.name for spec in EXPECTATIONS if spec.acceptable)
