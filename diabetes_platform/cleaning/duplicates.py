"""Exact duplicates: rows of a batch whose nine parsed values are all equal."""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as sf

from diabetes_platform.cleaning.rules import unparsed, value_name, with_values
from diabetes_platform.contract.fields import FIELDS, Field

SOURCE_LINE = "source_line"
LABELLED = "_labelled"
"""Whether a row is a label of the stream: its `source_line` is then the intake's id."""
PLACE = (LABELLED, SOURCE_LINE)
"""What a row of a batch is known by. Rows of the source come before labels."""
PLACE_SCHEMA = f"{LABELLED} boolean, {SOURCE_LINE} bigint"


def duplicate_places(received: DataFrame) -> DataFrame:
    """Return the place of every duplicate but the first, from a batch's rows as received.

    Missing equals missing, however it was written; a value that is no finite number is compared
    as its trimmed text. A hash that equal rows share finds the few candidates, so that only those
    are parsed, compared and sorted, not the whole batch.
    """
    hashed = received.select("*", sf.xxhash64(*(_coarse(field) for field in FIELDS)).alias("_hash"))
    counts = hashed.select("_hash").groupBy("_hash").agg(sf.count("*").alias("_n"))
    shared = counts.where("_n > 1").select("_hash")
    candidates = with_values(shared.join(hashed, "_hash")).select(
        *PLACE,
        *(value_name(field) for field in FIELDS),
        *(unparsed(field).alias(f"_{field.name}_unparsed") for field in FIELDS),
    )
    same_values = Window.partitionBy(
        *(value_name(field) for field in FIELDS),
        *(f"_{field.name}_unparsed" for field in FIELDS),
    ).orderBy(*PLACE)
    numbered = candidates.select(*PLACE, sf.row_number().over(same_values).alias("_nth"))
    return numbered.where("_nth > 1").select(*PLACE)


def _coarse(field: Field) -> Column:
    """A number that is equal where two values are equal to `duplicate_places`; cheap to compute.

    What is missing or reads as no number is 0. Whether a text that casts to a number is one to the
    contract does not matter here: such rows are compared as text later.
    """
    number = sf.trim(sf.col(field.name)).try_cast("double")
    if field.missing_codes:
        number = sf.when(~number.isin(*map(float, field.missing_codes)), number)
    # Adding zero turns -0.0 into 0.0, which hash differently.
    return sf.coalesce(number, sf.lit(0.0)) + sf.lit(0.0)
