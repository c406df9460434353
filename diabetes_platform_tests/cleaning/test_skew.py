"""Spark parses rows of the stream like the stream, or the field that differs is named."""

import random

import pytest
from pyspark.sql import SparkSession

from diabetes_platform.cleaning.skew import count_skewed_rows, parse_with_spark, to_source_text
from diabetes_platform.contract.fields import FIELD_NAMES, FIELDS, FIELDS_BY_NAME
from diabetes_platform.contract.validation import parse, reasons_to_reject
from diabetes_platform_tests.samples import pima_rows

Columns = dict[str, list[float | None]]


@pytest.fixture(scope="module")
def patients() -> Columns:
    """The Pima patients as in the stream: codes for missing are NULL; with synthetic ones."""
    rows = [{f.name: parse(f, row[f.name]).value for f in FIELDS} for row in pima_rows()]
    rows = [row for row in rows if not reasons_to_reject(row)]
    generator = random.Random(7)
    # Doubles whose shortest text is long, as a sender's own arithmetic gives.
    for _ in range(200):
        row = dict(generator.choice(rows))
        row["bmi"] = generator.uniform(10, 100)
        row["diabetes_pedigree_function"] = generator.uniform(0, 5)
        rows.append(row)
    return {name: [row[name] for row in rows] for name in FIELD_NAMES}


def test_spark_parses_real_and_unusual_numbers_like_the_stream(
    spark: SparkSession, patients: Columns
) -> None:
    assert count_skewed_rows(patients, parse_with_spark(spark, patients)) == {}


def test_counts_different_and_rejected_values_by_field(
    spark: SparkSession, patients: Columns
) -> None:
    few = {name: values[:5] for name, values in patients.items()}
    parsed = parse_with_spark(spark, few | {"age": [200.0, *few["age"][1:]]})
    columns = few | {"age": [200.0, *few["age"][1:]], "bmi": [*few["bmi"][:4], 11.5]}
    assert count_skewed_rows(columns, parsed) == {"age": 1, "bmi": 1}


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("pregnancies", 6.0, "6"),
        ("pregnancies", 6.5, "6.5"),
        ("bmi", 33.6, "33.6"),
        ("glucose", 148.0, "148.0"),
        ("insulin", None, None),
    ],
)
def test_writes_a_value_as_in_a_batch_source(
    field: str, value: float | None, text: str | None
) -> None:
    assert to_source_text(FIELDS_BY_NAME[field], value) == text
