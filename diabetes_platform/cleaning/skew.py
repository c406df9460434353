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
class ReadBySpark:
    """By field the value of each row, and whether the rule had a reason against it."""

    values: Mapping[str, list[Value]]
    refused: Mapping[str, list[bool]]


def read_by_spark(session: "SparkSession", columns: Mapping[str, Sequence[Value]]) -> ReadBySpark:
    """Give Spark's rules the values of each field of `FIELDS` as text, as a batch would have them.

    `columns` holds by field equally many values, None where not measured.
    """
    from pyspark.sql import functions as sf

    from diabetes_platform.cleaning.rules import (
        reason_name,
        value_name,
        with_reasons,
        with_values,
    )

    names = [field.name for field in FIELDS]
    texts = [[as_received(field, value) for value in columns[field.name]] for field in FIELDS]
    rows = [(number, *row) for number, row in enumerate(zip(*texts, strict=True))]
    schema = ", ".join(["number bigint", *(f"`{name}` string" for name in names)])
    raw = session.createDataFrame(rows, schema)
    judged = with_reasons(with_values(raw)).select(
        "number",
        *(sf.col(value_name(field)).alias(field.name) for field in FIELDS),
        *(
            sf.col(reason_name(field)).isNotNull().alias(f"{field.name}_refused")
            for field in FIELDS
        ),
    )
    found = judged.toArrow().sort_by("number")
    return ReadBySpark(
        {name: found[name].to_pylist() for name in names},
        {name: found[f"{name}_refused"].to_pylist() for name in names},
    )


def as_received(field: Field, value: Value) -> str | None:
    """Return the text that a source of batches has for a value: the shortest that is read back."""
    if value is None:
        return None
    return (
        str(int(value)) if field.kind == "integer" and value == int(value) else repr(float(value))
    )


def differing(columns: Mapping[str, Sequence[Value]], spark: ReadBySpark) -> dict[str, int]:
    """Return by field in how many rows Spark has another value or refuses it; none of it: empty."""
    found = {
        field.name: sum(
            refused or mine != other
            for mine, other, refused in zip(
                columns[field.name],
                spark.values[field.name],
                spark.refused[field.name],
                strict=True,
            )
        )
        for field in FIELDS
    }
    return {name: count for name, count in found.items() if count}
