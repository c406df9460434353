"""Exact duplicates: the same nine parsed values, however they were written."""

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf

from diabetes_platform.cleaning.clean import LABELLED, ROW_KEY, find_duplicates
from diabetes_platform_tests.cleaning.batches import patients, raw_table
from diabetes_platform_tests.contract.cases import ORDINARY, Row

LACKING = {**ORDINARY, "insulin": None}
UNREADABLE = {**ORDINARY, "glucose": "high"}


def duplicates(spark: SparkSession, rows: list[Row]) -> list[int]:
    frame = received(spark, rows)
    return sorted(row["source_line"] for row in find_duplicates(frame).collect())


def received(spark: SparkSession, rows: list[Row], *, labelled: bool = False) -> DataFrame:
    frame = spark.createDataFrame(raw_table(rows, "0" * 64))
    return frame.select("*", sf.lit(labelled).alias(LABELLED))


@pytest.mark.parametrize(
    ("name", "rows", "lines"),
    [
        ("one row", [ORDINARY], []),
        ("all but the first", [ORDINARY] * 4, [3, 4, 5]),
        ("rows between them", [ORDINARY, *patients(2), ORDINARY], [5]),
        ("spaces", [ORDINARY, {**ORDINARY, "age": f" {ORDINARY['age']} "}], [3]),
        ("another notation", [ORDINARY, {**ORDINARY, "age": "5.0e1"}], [3]),
        ("missing as code, text, null", [LACKING, {**LACKING, "insulin": "0"}], [3]),
        ("missing as NaN", [LACKING, {**LACKING, "insulin": "NaN"}], [3]),
        ("missing as N/A", [LACKING, {**LACKING, "insulin": "n/a"}], [3]),
        ("missing as minus zero", [LACKING, {**LACKING, "insulin": "-0"}], [3]),
        ("minus zero", [ORDINARY | {"outcome": "0"}, ORDINARY | {"outcome": "-0"}], [3]),
        ("another value", [ORDINARY, {**ORDINARY, "outcome": "0"}], []),
        ("missing is no value", [ORDINARY, LACKING], []),
        ("the same text that is no number", [UNREADABLE, UNREADABLE], [3]),
        ("other text", [UNREADABLE, {**UNREADABLE, "glucose": "low"}], []),
        ("text is not missing", [UNREADABLE, {**UNREADABLE, "glucose": None}], []),
        ("text in another field", [UNREADABLE, {**ORDINARY, "bmi": "high"}], []),
        # A missing value hashes like a text that is no number.
        (
            "zero is not missing",
            [{**ORDINARY, "pregnancies": "0"}, {**ORDINARY, "pregnancies": ""}],
            [],
        ),
        (
            "a value that moved to another field",
            [
                {**LACKING, "bmi": "50", "skin_thickness": None},
                {**LACKING, "bmi": None, "skin_thickness": "50"},
            ],
            [],
        ),
    ],
)
def test_duplicate_rows_of_a_source(
    spark: SparkSession, name: str, rows: list[Row], lines: list[int]
) -> None:
    assert duplicates(spark, rows) == lines, name


def test_keeps_the_source_row_if_a_label_duplicates_it(spark: SparkSession) -> None:
    """Whatever their numbers: the label is intake 2, its equal in the source lies on line 3."""
    source = received(spark, [LACKING, ORDINARY])
    labels = received(spark, [ORDINARY, LACKING, UNREADABLE, UNREADABLE], labelled=True)
    for rows in (source.union(labels), labels.union(source)):
        keys = sorted(tuple(row) for row in find_duplicates(rows).select(*ROW_KEY).collect())
        assert keys == [(True, 2), (True, 3), (True, 5)]
