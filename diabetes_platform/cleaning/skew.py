"""Training-serving skew: Spark's parsing of stream rows compared with Flink's.

The stream has no batch rules (outliers, duplicates), so they are not compared.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from diabetes_platform.contract.fields import FIELD_NAMES, FIELDS, Field

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

Value = float | None


def parse_with_spark(session: "SparkSession", columns: Mapping[str, Sequence[Value]]) -> "pa.Table":
    """Parse the values of each field of `FIELDS` with Spark's rules, as text like in a batch.

    `columns` maps each field to its values, one per row, None if missing. Returns for each field
    the column of Spark's values and `<field>_rejected`, whether the field's rule rejects the value.
    """
    from pyspark.sql import functions as sf

    from diabetes_platform.cleaning.rules import reason_name, value_name, with_reasons, with_values

    texts = [[to_source_text(field, value) for value in columns[field.name]] for field in FIELDS]
    rows = [(number, *row) for number, row in enumerate(zip(*texts, strict=True))]
    schema = ", ".join(["number bigint", *(f"`{field.name}` string" for field in FIELDS)])
    parsed = with_reasons(with_values(session.createDataFrame(rows, schema))).select(
        "number",
        *(sf.col(value_name(f)).alias(f.name) for f in FIELDS),
        *(sf.col(reason_name(f)).isNotNull().alias(f"{f.name}_rejected") for f in FIELDS),
    )
    return parsed.toArrow().sort_by("number")


def to_source_text(field: Field, value: Value) -> str | None:
    """Return the value as text in a batch source: the shortest text that parses to it."""
    if value is None:
        return None
    return str(int(value) if field.kind == "integer" and value == int(value) else float(value))


def count_skewed_rows(columns: Mapping[str, Sequence[Value]], parsed: "pa.Table") -> dict[str, int]:
    """Count, by field, the rows that Spark parses differently or rejects; leaves out zeros."""
    counts = {
        name: sum(
            rejected or stream_value != spark_value
            for stream_value, spark_value, rejected in zip(
                columns[name],
                parsed[name].to_pylist(),
                parsed[f"{name}_rejected"].to_pylist(),
                strict=True,
            )
        )
        for name in FIELD_NAMES
    }
    return {name: count for name, count in counts.items() if count}
