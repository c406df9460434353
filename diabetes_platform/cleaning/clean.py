"""Raw rows of one batch and its statistics to rows with a verdict: `cleaned/patients`."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from diabetes_platform.cleaning.duplicates import SOURCE_LINE, duplicate_lines
from diabetes_platform.cleaning.rules import (
    allowed_value,
    reason_name,
    with_reasons,
    with_values,
)
from diabetes_platform.cleaning.schema import conform
from diabetes_platform.cleaning.statistics import FieldStatistics, by_field
from diabetes_platform.contract.fields import FEATURES, FIELDS, Field
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    FILLED,
    filled_name,
    normed_name,
)
from diabetes_platform.contract.validation import DUPLICATE, OUTLIER, Reason

ACCEPTED = "accepted"
REJECTED = "rejected"
DUPLICATE_REASON = str(Reason("record", DUPLICATE))
_FILLED_NAMES = frozenset(column.name for column in FILLED)


def clean(raw: DataFrame, statistics: list[FieldStatistics], batch_id: str) -> DataFrame:
    """Return every row of `raw` with the columns of `cleaned/patients`.

    Reasons stand in one order: row rules by field, then outliers by field, then the duplicate.
    A measured column holds the value that passes its row rule, else NULL; what was received
    stands beside it.
    """
    fitted = by_field(statistics)
    values = with_values(raw)
    duplicates = duplicate_lines(values).withColumn("_duplicate", F.lit(True))
    # The small side first: Sail builds its hash table from the left.
    rows = duplicates.join(with_reasons(values), SOURCE_LINE, "right")
    measured = rows.select(
        SOURCE_LINE,
        "source",
        "_duplicate",
        *(F.col(f.name).alias(f"{f.name}_received") for f in FIELDS),
        *(F.col(reason_name(f)) for f in FIELDS),
        *(allowed_value(f).alias(f.name) for f in FIELDS),
    )
    filled = measured.select("*", *(_filled(f, fitted[f.name]) for f in FEATURES))
    judged = filled.select(
        "*",
        *(_normed(f, fitted[f.name]) for f in FEATURES),
        _reasons(fitted).alias("reasons"),
        F.lit(batch_id).alias("batch_id"),
        F.concat(F.lit(f"{batch_id}-"), F.col(SOURCE_LINE).cast("string")).alias("record_id"),
    )
    verdict = F.when(F.size("reasons") == 0, F.lit(ACCEPTED)).otherwise(F.lit(REJECTED))
    return conform(judged.withColumn("verdict", verdict), CLEANED_PATIENTS)


def _filled(field: Field, fitted: FieldStatistics) -> Column:
    return F.coalesce(F.col(field.name), F.lit(fitted.median).cast("double")).alias(
        filled_name(field)
    )


def _normed(field: Field, fitted: FieldStatistics) -> Column:
    if fitted.median is None or fitted.scale is None:
        scaled = F.lit(None).cast("double")
    else:
        name = filled_name(field) if filled_name(field) in _FILLED_NAMES else field.name
        scaled = (F.col(name) - F.lit(fitted.median)) / F.lit(fitted.scale)
    return scaled.alias(normed_name(field))


def _outlier(field: Field, fitted: FieldStatistics) -> Column | None:
    if fitted.lower_fence is None or fitted.upper_fence is None:
        return None
    value = F.col(field.name)
    beyond = (value < fitted.lower_fence) | (value > fitted.upper_fence)
    return F.when(beyond, F.lit(str(Reason(field.name, OUTLIER))))


def _reasons(fitted: dict[str, FieldStatistics]) -> Column:
    outliers = (_outlier(field, fitted[field.name]) for field in FEATURES)
    found = [
        *(F.col(reason_name(field)) for field in FIELDS),
        *(reason for reason in outliers if reason is not None),
        F.when(F.col("_duplicate"), F.lit(DUPLICATE_REASON)),
    ]
    none = F.array().cast("array<string>")
    # Most rows have none: no array is built for those.
    return F.when(F.coalesce(*found).isNull(), none).otherwise(F.array_compact(F.array(*found)))
