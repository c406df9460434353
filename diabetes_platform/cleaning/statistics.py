"""Robust statistics of a batch: quartiles as observed values, and Tukey's outer fences.

They are fitted on rows that pass every row rule, including duplicates and outliers: the few rows
barely move the quartiles, and no second pass is needed. Quartiles are by nearest rank (SQL's
`percentile_disc`) and the rest is plain arithmetic, so that every engine gives the same bits.
"""

from collections.abc import Collection
from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as sf

from diabetes_platform.cleaning.rules import passes_row_rules, value_name, with_reasons, with_values
from diabetes_platform.contract.fields import FEATURES, FIELDS_BY_NAME, Field
from diabetes_platform.contract.validation import MISSING_TEXTS

FENCE = 3.0
"""Tukey's outer fences (1977), in interquartile ranges beyond the quartiles."""


@dataclass(frozen=True, slots=True)
class FieldStatistics:
    """One row of `statistics/patients`: the number of values and their quartiles.

    Quartiles are None without values. Fences are None without values or without spread.
    """

    field: str
    count: int
    q1: float | None = None
    median: float | None = None
    q3: float | None = None
    lower_fence: float | None = None
    upper_fence: float | None = None

    @property
    def scale(self) -> float | None:
        """One unit of the robust scale: q3 - q1, or 1 if that is 0, as in RobustScaler."""
        if self.q1 is None or self.q3 is None:
            return None
        return (self.q3 - self.q1) or 1.0


def fences(field: Field, q1: float, q3: float) -> tuple[float, float] | None:
    """Return the outer fences in the field's unit, or None if the quartiles have no spread.

    A skewed field has fences on a ratio scale: those of its logarithms, written as products,
    because logarithms differ in their last bit between engines. This requires positive quartiles.
    """
    if q1 == q3 or (field.skewed and q1 <= 0):
        return None
    if field.skewed:
        down, up = q1 / q3, q3 / q1
        return q1 * down * down * down, q3 * up * up * up
    spread = FENCE * (q3 - q1)
    return q1 - spread, q3 + spread


def describe(field: Field, count: int, quartiles: tuple[float, float, float]) -> FieldStatistics:
    """Return the statistics of a field that has `count` > 0 values."""
    q1, median, q3 = quartiles
    lower, upper = fences(field, q1, q3) or (None, None)
    return FieldStatistics(field.name, count, q1, median, q3, lower, upper)


def fit(
    received: DataFrame, missing_texts: Collection[str] = MISSING_TEXTS
) -> list[FieldStatistics]:
    """Return the statistics of every feature, in contract order, from a batch's rows as received.

    One pass over the rows counts each (field, value); the quartiles are computed from the counts.
    """
    rows = _quartiles(_value_counts(with_values(received, missing_texts))).collect()
    rows_by_field = {row["field"]: row for row in rows}
    return [
        describe(field, row["count"], (row["q1"], row["median"], row["q3"]))
        if (row := rows_by_field.get(field.name))
        else FieldStatistics(field.name, 0)
        for field in FEATURES
    ]


def _value_counts(values: DataFrame) -> DataFrame:
    rows = with_reasons(values).select("*", passes_row_rules().alias("_passes"))
    # Not where("_passes"): an optimizer pushes the filter below the projections and evaluates
    # every rule twice, five times slower on Sail.
    measurements = sf.array(
        *(
            sf.struct(
                sf.lit(f.name).alias("field"),
                sf.when(sf.col("_passes"), sf.col(value_name(f))).alias("value"),
            )
            for f in FEATURES
        )
    )
    long = rows.select(sf.explode(measurements).alias("m")).select("m.field", "m.value")
    return long.where(sf.col("value").isNotNull()).groupBy("field", "value").count()


def _quartiles(counts: DataFrame) -> DataFrame:
    field = Window.partitionBy("field")
    up_to_value = field.orderBy("value").rowsBetween(Window.unboundedPreceding, Window.currentRow)
    ranked = counts.select(
        "field",
        "value",
        sf.sum("count").over(up_to_value).alias("rank"),
        sf.sum("count").over(field).alias("total"),
    )
    reached = [
        sf.min(sf.when(sf.col("rank") * 4 >= sf.col("total") * k, sf.col("value"))).alias(name)
        for k, name in enumerate(("q1", "median", "q3"), start=1)
    ]
    return ranked.groupBy("field").agg(sf.max("total").alias("count"), *reached)


def by_field(rows: list[FieldStatistics]) -> dict[str, FieldStatistics]:
    """Index statistics by field; raises ValueError for missing and unknown features."""
    indexed = {row.field: row for row in rows}
    if set(indexed) != {field.name for field in FEATURES}:
        unknown = sorted(set(indexed) - set(FIELDS_BY_NAME))
        absent = [field.name for field in FEATURES if field.name not in indexed]
        raise ValueError(f"statistics: unknown fields {unknown}, absent fields {absent}")
    return indexed
