"""Spark transformation of a batch to `cleaned/patients`: duplicates, outliers, reasons, verdict."""

from collections.abc import Collection

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as sf

from diabetes_platform.cleaning.reconciliation import ACCEPTED, REJECTED
from diabetes_platform.cleaning.rules import (
    allowed_value,
    reason_name,
    unparsed,
    value_name,
    with_reasons,
    with_values,
)
from diabetes_platform.cleaning.statistics import FieldStatistics, by_field
from diabetes_platform.contract.fields import FEATURES, FIELDS, Field
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    INTAKE_PREFIX,
    ColumnType,
    filled_name,
    normed_name,
)
from diabetes_platform.contract.validation import (
    DUPLICATE,
    MISSING_TEXTS,
    OUTLIER,
    Reason,
    missing_numbers,
)

_SPARK_TYPES: dict[ColumnType, str] = {
    "text": "string",
    "integer": "int",
    "bigint": "bigint",
    "number": "double",
    "timestamp": "timestamp",
    "text[]": "array<string>",
}
"""As text, because from a `StringType()` of the client, Apache Spark writes the Delta type
`string collate UTF8_BINARY`, which no other Delta reader supports.
"""


SOURCE_LINE = "source_line"
LABELLED = "_labelled"
"""Whether a row is a label from the stream; its `source_line` is then the intake id."""
ROW_KEY = (LABELLED, SOURCE_LINE)
"""Identifies a row of a batch. Rows of the source come before labels."""
ROW_KEY_SCHEMA = f"{LABELLED} boolean, {SOURCE_LINE} bigint"


def find_duplicates(
    received: DataFrame, missing_texts: Collection[str] = MISSING_TEXTS
) -> DataFrame:
    """Return the keys of duplicates, except the first row of each group, from rows as received.

    Rows are duplicates if all parsed values are equal; missing values are equal. A value that is
    not a finite number is compared as trimmed text. A hash selects the few candidates, so that only
    these are parsed, compared and sorted.
    """
    # Sail's hash panics if all of its arguments are constant, and Sail replaces a column without a
    # value, or with a single one, by a constant. It does not recognise that this argument is always
    # NULL, and NULL does not change the hash.
    no_constant = sf.nullif(sf.col(SOURCE_LINE), sf.col(SOURCE_LINE))
    inputs = (_hash_input(field, missing_texts) for field in FIELDS)
    hashed = received.select("*", sf.xxhash64(no_constant, *inputs).alias("_hash"))
    counts = hashed.select("_hash").groupBy("_hash").agg(sf.count("*").alias("_n"))
    shared = counts.where("_n > 1").select("_hash")
    values = [value_name(field) for field in FIELDS]
    texts = [f"_{field.name}_unparsed" for field in FIELDS]
    candidates = with_values(shared.join(hashed, "_hash"), missing_texts).select(
        *ROW_KEY, *values, *(unparsed(f).alias(text) for f, text in zip(FIELDS, texts, strict=True))
    )
    same_values = Window.partitionBy(*values, *texts).orderBy(*ROW_KEY)
    numbered = candidates.select(*ROW_KEY, sf.row_number().over(same_values).alias("_nth"))
    return numbered.where("_nth > 1").select(*ROW_KEY)


def _hash_input(field: Field, missing_texts: Collection[str]) -> Column:
    """A cheap number that is the same for all values that `find_duplicates` considers equal.

    It is NULL for a missing value and for text that does not cast to a number. The contract's
    stricter definition of a number does not matter here, because the candidates are compared
    afterwards.
    """
    # Adding zero turns -0.0 into 0.0, which hash differently.
    number = sf.trim(sf.col(field.name)).try_cast("double") + sf.lit(0.0)
    # Not nullif(): Sail's does not consider NaN and -NaN equal.
    number = sf.when(~sf.isnan(number), number)
    for missing in (*field.missing_codes, *missing_numbers(missing_texts)):
        number = sf.nullif(number, sf.lit(float(missing)))
    return number


def clean(
    received: DataFrame,
    duplicates: DataFrame,
    statistics: list[FieldStatistics],
    batch_id: str,
    missing_texts: Collection[str] = MISSING_TEXTS,
) -> DataFrame:
    """Return every row of `received` with the columns of `cleaned/patients`.

    `duplicates` has the keys from `find_duplicates`. Reasons are ordered: row rules by field,
    outliers by field, duplicate. The column of a measurement has the value if it passes its row
    rule, else NULL; a separate column has the received text.
    """
    fitted = by_field(statistics)
    duplicate_keys = duplicates.select(*ROW_KEY, sf.lit(True).alias("_duplicate"))
    rows = with_reasons(with_values(received, missing_texts)).join(
        duplicate_keys, list(ROW_KEY), "left"
    )
    measured = rows.select(
        *ROW_KEY,
        "source",
        "_duplicate",
        *(sf.col(f.name).alias(f"{f.name}_received") for f in FIELDS),
        *(sf.col(reason_name(f)) for f in FIELDS),
        *(allowed_value(f).alias(f.name) for f in FIELDS),
    )
    filled = measured.select("*", *(_filled(f, fitted[f.name]) for f in FEATURES))
    evaluated = filled.select(
        "*",
        *(_normed(f, fitted[f.name]) for f in FEATURES),
        _reasons(fitted).alias("reasons"),
        sf.lit(batch_id).alias("batch_id"),
        _record_id(batch_id).alias("record_id"),
    )
    verdict = sf.when(sf.size("reasons") == 0, sf.lit(ACCEPTED)).otherwise(sf.lit(REJECTED))
    columns = [
        sf.col(column.name).cast(_SPARK_TYPES[column.type]).alias(column.name)
        for column in CLEANED_PATIENTS.columns
    ]
    return evaluated.select("*", verdict.alias("verdict")).select(*columns)


def _record_id(batch_id: str) -> Column:
    prefix = sf.when(sf.col(LABELLED), sf.lit(INTAKE_PREFIX)).otherwise(sf.lit(""))
    return sf.concat(sf.lit(f"{batch_id}-"), prefix, sf.col(SOURCE_LINE).cast("string"))


def _double(value: float | None) -> Column:
    return sf.lit(value).cast("double")


def _filled(field: Field, fitted: FieldStatistics) -> Column:
    return sf.coalesce(sf.col(field.name), _double(fitted.median)).alias(filled_name(field))


def _normed(field: Field, fitted: FieldStatistics) -> Column:
    value = sf.col(field.name if field.required else filled_name(field))
    return ((value - _double(fitted.median)) / _double(fitted.scale)).alias(normed_name(field))


def _outlier(field: Field, fitted: FieldStatistics) -> Column:
    """The reason of a value outside the fences; NULL without fences or without a value."""
    value = sf.col(field.name)
    below, above = value < _double(fitted.lower_fence), value > _double(fitted.upper_fence)
    return sf.when(below | above, sf.lit(str(Reason(field.name, OUTLIER))))


def _reasons(fitted: dict[str, FieldStatistics]) -> Column:
    reasons = [
        *(sf.col(reason_name(field)) for field in FIELDS),
        *(_outlier(field, fitted[field.name]) for field in FEATURES),
        sf.when(sf.col("_duplicate"), sf.lit(str(Reason("record", DUPLICATE)))),
    ]
    no_reasons = sf.array().cast("array<string>")
    # Most rows have no reason: building no array for them is faster.
    has_no_reason = sf.coalesce(*reasons).isNull()
    return sf.when(has_no_reason, no_reasons).otherwise(sf.array_compact(sf.array(*reasons)))
