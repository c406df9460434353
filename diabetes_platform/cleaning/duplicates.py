"""Exact duplicates: rows of a batch whose nine parsed values are all equal."""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as sf

from diabetes_platform.cleaning.rules import unparsed, value_name
from diabetes_platform.contract.fields import FIELDS

SOURCE_LINE = "source_line"


def duplicate_lines(values: DataFrame) -> DataFrame:
    """Return `source_line` of every duplicate but the first, from rows of `with_values`.

    Missing equals missing, however it was written; a value that is no finite number is compared
    as its trimmed text. A hash of the values finds the few candidates, so that only those are
    compared and sorted, not the whole batch.
    """
    hashed = values.select(
        SOURCE_LINE,
        sf.xxhash64(*(value_name(field) for field in FIELDS)).alias("_hash"),
        *(value_name(field) for field in FIELDS),
        *(unparsed(field).alias(f"_{field.name}_unparsed") for field in FIELDS),
    )
    shared = hashed.groupBy("_hash").agg(sf.count("*").alias("_n")).where("_n > 1").select("_hash")
    candidates = shared.join(hashed, "_hash")
    same_values = Window.partitionBy(
        *(value_name(field) for field in FIELDS),
        *(f"_{field.name}_unparsed" for field in FIELDS),
    ).orderBy(SOURCE_LINE)
    numbered = candidates.select(SOURCE_LINE, sf.row_number().over(same_values).alias("_nth"))
    return numbered.where("_nth > 1").select(SOURCE_LINE)
