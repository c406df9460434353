"""Spark transformation of a batch to `cleaned/patients`: duplicates, outliers, reasons, verdict."""

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
    FILLED,
    INTAKE_PREFIX,
    ColumnType,
    Table,
    filled_name,
    normed_name,
)
from diabetes_platform.contract.validation import DUPLICATE, OUTLIER, Reason

_SPARK: dict[ColumnType, str] = {
    "text": "string",
    "integer": "int",
    "bigint": "bigint",
    "number": "double",
    "timestamp": "timestamp",
    "text[]": "array<string>",
}


def spark_schema(table: Table) -> str:
    """Return the schema of `table` as Spark's DDL: `count bigint NOT NULL, q1 double, …`."""
    return ", ".join(
        f"`{column.name}` {_SPARK[column.type]}{'' if column.nullable else ' NOT NULL'}"
        for column in table.columns
    )


def conform(frame: DataFrame, table: Table) -> DataFrame:
    """Return exactly the columns of `table`, in its order and with its types."""
    return frame.select(*(sf.col(c.name).cast(_SPARK[c.type]).alias(c.name) for c in table.columns))


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


DUPLICATE_REASON = str(Reason("record", DUPLICATE))
_FILLED_NAMES = frozenset(column.name for column in FILLED)


def clean(
    received: DataFrame, duplicates: DataFrame, statistics: list[FieldStatistics], batch_id: str
) -> DataFrame:
    """Return every row of `received` with the columns of `cleaned/patients`.

    `duplicates` holds the place of each row that `duplicate_places` found. Reasons stand in
    one order: row rules by field, then outliers by field, then the duplicate. A measured column
    holds the value that passes its row rule, else NULL; what was received stands beside it.
    """
    fitted = by_field(statistics)
    marked = duplicates.select(*PLACE, sf.lit(True).alias("_duplicate"))
    rows = with_reasons(with_values(received)).join(marked, list(PLACE), "left")
    measured = rows.select(
        *PLACE,
        "source",
        "_duplicate",
        *(sf.col(f.name).alias(f"{f.name}_received") for f in FIELDS),
        *(sf.col(reason_name(f)) for f in FIELDS),
        *(allowed_value(f).alias(f.name) for f in FIELDS),
    )
    filled = measured.select("*", *(_filled(f, fitted[f.name]) for f in FEATURES))
    judged = filled.select(
        "*",
        *(_normed(f, fitted[f.name]) for f in FEATURES),
        _reasons(fitted).alias("reasons"),
        sf.lit(batch_id).alias("batch_id"),
        _record_id(batch_id).alias("record_id"),
    )
    verdict = sf.when(sf.size("reasons") == 0, sf.lit(ACCEPTED)).otherwise(sf.lit(REJECTED))
    return conform(judged.select("*", verdict.alias("verdict")), CLEANED_PATIENTS)


def _record_id(batch_id: str) -> Column:
    prefix = sf.when(sf.col(LABELLED), sf.lit(f"{batch_id}-{INTAKE_PREFIX}")).otherwise(
        sf.lit(f"{batch_id}-")
    )
    return sf.concat(prefix, sf.col(SOURCE_LINE).cast("string"))


def _filled(field: Field, fitted: FieldStatistics) -> Column:
    return sf.coalesce(sf.col(field.name), sf.lit(fitted.median).cast("double")).alias(
        filled_name(field)
    )


def _normed(field: Field, fitted: FieldStatistics) -> Column:
    if fitted.median is None or fitted.scale is None:
        scaled = sf.lit(None).cast("double")
    else:
        name = filled_name(field) if filled_name(field) in _FILLED_NAMES else field.name
        scaled = (sf.col(name) - sf.lit(fitted.median)) / sf.lit(fitted.scale)
    return scaled.alias(normed_name(field))


def _outlier(field: Field, fitted: FieldStatistics) -> Column | None:
    if fitted.lower_fence is None or fitted.upper_fence is None:
        return None
    value = sf.col(field.name)
    beyond = (value < fitted.lower_fence) | (value > fitted.upper_fence)
    return sf.when(beyond, sf.lit(str(Reason(field.name, OUTLIER))))


def _reasons(fitted: dict[str, FieldStatistics]) -> Column:
    outliers = (_outlier(field, fitted[field.name]) for field in FEATURES)
    found = [
        *(sf.col(reason_name(field)) for field in FIELDS),
        *(reason for reason in outliers if reason is not None),
        sf.when(sf.col("_duplicate"), sf.lit(DUPLICATE_REASON)),
    ]
    none = sf.array().cast("array<string>")
    # Most rows have none: no array is built for those.
    return sf.when(sf.coalesce(*found).isNull(), none).otherwise(sf.array_compact(sf.array(*found)))
