"""Robust statistics: observed quartiles by nearest rank, and Tukey's outer fences."""

import numpy as np
import pytest
from pyspark.sql import SparkSession

from diabetes_platform.cleaning.statistics import (
    FieldStatistics,
    by_field,
    describe,
    fences,
    fit,
)
from diabetes_platform.contract.fields import FEATURES, FIELDS_BY_NAME
from diabetes_platform.contract.validation import parse, reasons_to_reject
from diabetes_platform_tests.cleaning.batches import dirty_rows, patients, raw_table
from diabetes_platform_tests.contract.cases import ORDINARY, Row

GLUCOSE, INSULIN = FIELDS_BY_NAME["glucose"], FIELDS_BY_NAME["insulin"]


def fitted(spark: SparkSession, rows: list[Row]) -> dict[str, FieldStatistics]:
    return by_field(fit(spark.createDataFrame(raw_table(rows, "0" * 64))))


@pytest.mark.parametrize(
    ("field", "q1", "q3", "expected"),
    [
        (GLUCOSE, 100.0, 140.0, (-20.0, 260.0)),
        (GLUCOSE, 100.0, 100.0, None),
        (INSULIN, 50.0, 100.0, (50 / 8, 800.0)),
        (INSULIN, 50.0, 50.0, None),
        # A ratio needs positive quartiles.
        (INSULIN, 0.0, 100.0, None),
    ],
)
def test_fences(field: object, q1: float, q3: float, expected: tuple[float, float] | None) -> None:
    assert fences(field, q1, q3) == expected  # type: ignore[arg-type]


def test_ratio_fences_are_the_fences_of_the_logarithms() -> None:
    low, high = fences(INSULIN, 77.0, 190.0) or (0, 0)
    logs = np.log([77.0, 190.0])
    spread = 3 * (logs[1] - logs[0])
    assert np.exp([logs[0] - spread, logs[1] + spread]) == pytest.approx([low, high])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, 101])
def test_quartiles_are_the_nearest_ranks(spark: SparkSession, count: int) -> None:
    rows = patients(count, glucose=lambda number: str(100 + number * 37 % count))
    glucose = fitted(spark, rows)["glucose"]
    values = [float(row["glucose"]) for row in rows]
    expected = np.percentile(values, [25, 50, 75], method="inverted_cdf")
    assert [glucose.q1, glucose.median, glucose.q3] == expected.tolist()
    assert glucose.count == count


def test_a_dirty_batch_is_fitted_on_rows_that_pass_every_row_rule(spark: SparkSession) -> None:
    rows = dirty_rows(2000, seed=1)
    statistics = fitted(spark, rows)
    passing = [row for row in rows if not reasons_to_reject(row)]
    for field in FEATURES:
        parsed = [parse(field, row[field.name]).value for row in passing]
        values = [value for value in parsed if value is not None]
        quartiles = np.percentile(values, [25, 50, 75], method="inverted_cdf").tolist()
        assert statistics[field.name] == describe(field, len(values), tuple(quartiles))


def test_a_field_without_any_value_has_neither_quartiles_nor_fences(spark: SparkSession) -> None:
    rows = patients(20, insulin=lambda _: "0")
    assert fitted(spark, rows)["insulin"] == FieldStatistics("insulin", 0)


def test_a_constant_field_has_no_fences_and_scale_1(spark: SparkSession) -> None:
    glucose = fitted(spark, patients(20, glucose=lambda _: "120"))["glucose"]
    assert (glucose.q1, glucose.median, glucose.q3) == (120, 120, 120)
    assert (glucose.lower_fence, glucose.upper_fence, glucose.scale) == (None, None, 1.0)


def test_a_batch_without_a_passing_row_has_no_statistics(spark: SparkSession) -> None:
    statistics = fitted(spark, [{**ORDINARY, "age": "old"}] * 3)
    assert {row.count for row in statistics.values()} == {0}
    assert {row.scale for row in statistics.values()} == {None}


def test_rejects_statistics_without_a_feature() -> None:
    rows = [FieldStatistics(field.name, 0) for field in FEATURES[1:]]
    with pytest.raises(ValueError, match=f"absent fields \\['{FEATURES[0].name}'\\]"):
        by_field(rows)
