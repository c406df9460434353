"""Training-serving skew: Spark's parsing of stream rows compared with Flink's.

The stream has no batch rules (outliers, duplicates), so they are not compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diabetes_platform.contract.fields import FIELDS, Field

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Value = float | None


@dataclass(frozen=True, slots=True)
class SparkParsing:
    """For each field: Spark's parsed value of each row, and whether the field's rule rejects it."""

    values: Mapping[str, list[Value]]
    rejected: Mapping[str, list[bool]]


def parse_with_spark(
    session: "SparkSession", columns: Mapping[str, Sequence[Value]]
) -> SparkParsing:
    """Parse the values of each field of `FIELDS` with Spark's rules, as text like in a batch.

    `columns` maps each field to its values, one per row, None if missing.
    """
    from pyspark.sql import functions as sf

    from diabetes_platform.cleaning.rules import (
        reason_name,
        value_name,
        with_reasons,
        with_values,
    )

    names = [field.name for field in FIELDS]
    texts = [[to_source_text(field, value) for value in columns[field.name]] for field in FIELDS]
    rows = [(number, *row) for number, row in enumerate(zip(*texts, strict=True))]
    schema = ", ".join(["number bigint", *(f"`{name}` string" for name in names)])
    raw = session.createDataFrame(rows, schema)
    parsed = with_reasons(with_values(raw)).select(
        "number",
        *(sf.col(value_name(field)).alias(field.name) for field in FIELDS),
        *(
            sf.col(reason_name(field)).isNotNull().alias(f"{field.name}_rejected")
            for field in FIELDS
        ),
    )
    rows_by_number = parsed.toArrow().sort_by("number")
    return SparkParsing(
        {name: rows_by_number[name].to_pylist() for name in names},
        {name: rows_by_number[f"{name}_rejected"].to_pylist() for name in names},
    )


def to_source_text(field: Field, value: Value) -> str | None:
    """Return the value as text in a batch source: the shortest text that parses to it."""
    if value is None:
        return None
    return (
        str(int(value)) if field.kind == "integer" and value == int(value) else repr(float(value))
    )


def count_skewed_rows(
    columns: Mapping[str, Sequence[Value]], spark: SparkParsing
) -> dict[str, int]:
    """Count, by field, the rows that Spark parses differently or rejects; leaves out zeros."""
    counts = {
        field.name: sum(
            rejected or stream_value != spark_value
            for stream_value, spark_value, rejected in zip(
                columns[field.name],
                spark.values[field.name],
                spark.rejected[field.name],
                strict=True,
            )
        )
        for field in FIELDS
    }
    return {name: count for name, count in counts.items() if count}
