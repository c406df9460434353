"""Row rules in Spark: for every kind of value, the contract's verdict with the same reasons."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from diabetes_platform.cleaning.rules import (
    allowed_value,
    passes_row_rules,
    reason_name,
    value_name,
    with_reasons,
    with_values,
)
from diabetes_platform.contract.fields import FIELDS
from diabetes_platform.contract.validation import parse, reasons_to_reject
from diabetes_platform_tests.cleaning.batches import raw_table
from diabetes_platform_tests.contract.cases import ORDINARY, Row, agreement_rows

NUL = {**ORDINARY, "glucose": "7\x00"}


def evaluate_with_spark(spark: SparkSession, rows: list[Row]) -> list[dict[str, object]]:
    frame = with_reasons(with_values(spark.createDataFrame(raw_table(rows, "0" * 64))))
    columns = [
        *(value_name(f) for f in FIELDS),
        *(reason_name(f) for f in FIELDS),
        *(allowed_value(f).alias(f.name) for f in FIELDS),
        passes_row_rules().alias("passes"),
    ]
    return [row.asDict() for row in frame.orderBy("source_line").select(*columns).collect()]


def assert_agrees_with_the_contract(spark: SparkSession, rows: list[Row]) -> None:
    for row, evaluated in zip(rows, evaluate_with_spark(spark, rows), strict=True):
        reasons = [str(reason) for reason in reasons_to_reject(row)]
        spark_reasons = [evaluated[reason_name(f)] for f in FIELDS if evaluated[reason_name(f)]]
        assert spark_reasons == reasons, row
        assert evaluated["passes"] == (not reasons), row
        values = {f.name: parse(f, row[f.name]).value for f in FIELDS}
        assert {f.name: evaluated[value_name(f)] for f in FIELDS} == values, row
        for field in FIELDS:
            broken = evaluated[reason_name(field)] is not None
            assert evaluated[field.name] == (None if broken else values[field.name]), row


def test_sail_agrees_with_the_contract_on_every_case(spark: SparkSession) -> None:
    assert_agrees_with_the_contract(spark, [*(case.row for case in agreement_rows()), NUL])


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_apache_spark_agrees_with_the_contract_on_every_case(
    apache_spark: SparkSession,
) -> None:
    assert_agrees_with_the_contract(apache_spark, [*(case.row for case in agreement_rows()), NUL])


NUMBER_LIKE = st.text(alphabet="0123456789.+-eEdDfFxXpP_, \t\nnaifNAIFty\u00a0\u0661", max_size=12)
NUMBERS = st.floats().map(repr) | st.decimals().map(str) | st.integers().map(str)
VALUES = st.none() | NUMBER_LIKE | NUMBERS | st.text(max_size=8)
ROWS = st.fixed_dictionaries({field.name: VALUES for field in FIELDS})


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(ROWS, min_size=1, max_size=40))
def test_sail_agrees_with_the_contract_on_any_text(spark: SparkSession, rows: list[Row]) -> None:
    assert_agrees_with_the_contract(spark, rows)


def test_a_minus_zero_is_stored_as_zero(spark: SparkSession) -> None:
    [row] = evaluate_with_spark(spark, [{**ORDINARY, "diabetes_pedigree_function": "-0.0"}])
    assert str(row["diabetes_pedigree_function"]) == "0.0"
