"""Exact duplicates: the same nine parsed values, however they were written."""

import pytest
from pyspark.sql import SparkSession

from diabetes_platform.cleaning.duplicates import duplicate_lines
from diabetes_platform_tests.cleaning.batches import patients, raw_table
from diabetes_platform_tests.contract.cases import ORDINARY, Row

LACKING = {**ORDINARY, "insulin": None}
UNREADABLE = {**ORDINARY, "glucose": "high"}


def duplicates(spark: SparkSession, rows: list[Row]) -> list[int]:
    frame = spark.createDataFrame(raw_table(rows, "0" * 64))
    return sorted(row["source_line"] for row in duplicate_lines(frame).collect())


@pytest.mark.parametrize(
    ("name", "rows", "lines"),
    [
        ("one row", [ORDINARY], []),
        ("all but the first", [ORDINARY] * 4, [3, 4, 5]),
        ("rows between them", [ORDINARY, *patients(2), ORDINARY], [5]),
        ("spaces", [ORDINARY, {**ORDINARY, "age": f" {ORDINARY['age']} "}], [3]),
        ("another notation", [ORDINARY, {**ORDINARY, "age": "5.0e1"}], [3]),
        ("missing as code, text, null", [LACKING, {**LACKING, "insulin": "0"}], [3]),
        ("minus zero", [ORDINARY | {"outcome": "0"}, ORDINARY | {"outcome": "-0"}], [3]),
        ("another value", [ORDINARY, {**ORDINARY, "outcome": "0"}], []),
        ("missing is no value", [ORDINARY, LACKING], []),
        ("the same text that is no number", [UNREADABLE, UNREADABLE], [3]),
        ("other text", [UNREADABLE, {**UNREADABLE, "glucose": "low"}], []),
        ("text is not missing", [UNREADABLE, {**UNREADABLE, "glucose": None}], []),
        ("text in another field", [UNREADABLE, {**ORDINARY, "bmi": "high"}], []),
        # A missing value hashes like 0, and so does a text that is no number.
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
def test_duplicate_lines(spark: SparkSession, name: str, rows: list[Row], lines: list[int]) -> None:
    assert duplicates(spark, rows) == lines, name
