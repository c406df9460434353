"""The script's rules in polars: parsing, verdicts, filling, scaling."""

from functools import reduce
from typing import Any

import polars as pl

from diabetes_platform.contract.fields import FEATURES, FIELD_NAMES, FIELDS, Field
from diabetes_platform.contract.tables import QUARANTINE_PATIENTS, STAGING_PATIENTS
from diabetes_platform.contract.validation import (
    ABOVE_MAXIMUM,
    BELOW_MINIMUM,
    DUPLICATE,
    MISSING,
    MISSING_TEXTS,
    NOT_A_NUMBER,
    NOT_ALLOWED,
    NOT_AN_INTEGER,
    NOT_FINITE,
    OUTLIER,
    Reason,
)

CODES = (
    MISSING,
    NOT_A_NUMBER,
    NOT_FINITE,
    NOT_AN_INTEGER,
    BELOW_MINIMUM,
    ABOVE_MAXIMUM,
    NOT_ALLOWED,
)
REASON = pl.Enum(CODES)

Fitted = dict[str, Any]
"""A row of `statistics/patients`."""


def parsed(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Return line, value and reason of each field, and the texts that are no finite numbers."""
    trimmed = pl.col(FIELD_NAMES).str.strip_chars(" ")
    is_missing = trimmed.str.to_lowercase().is_in(sorted(MISSING_TEXTS))
    texts = raw.select("source_line", pl.when(~is_missing).then(trimmed))
    return (
        texts.with_columns(_number(field).alias(f"{field.name}_value") for field in FIELDS)
        .with_columns(_reason(field).alias(f"{field.name}_reason") for field in FIELDS)
        .select(
            "source_line",
            *(f"{field.name}_reason" for field in FIELDS),
            *(_finite(field).alias(field.name) for field in FIELDS),
            unreadable=pl.concat_str(map(_unreadable, FIELDS), separator=",", ignore_nulls=True),
        )
    )


def judged(numbers: pl.DataFrame, statistics: pl.DataFrame) -> pl.DataFrame:
    """Add `outlier_<field>`, `duplicate` and `accepted` to the parsed rows."""
    fitted = by_field(statistics)
    same = [*FIELD_NAMES, "unreadable"]
    # The table's files come in any order, and the first of equal rows is the one to keep.
    rows = numbers.sort("source_line")
    rows = rows.with_columns(duplicate=~pl.struct(same).is_first_distinct())
    rows = rows.with_columns(
        _is_outlier(f, fitted[f.name]).alias(f"outlier_{f.name}") for f in FEATURES
    )
    bad = pl.any_horizontal("duplicate", *(f"outlier_{f.name}" for f in FEATURES))
    return rows.with_columns(accepted=passes() & ~bad)


def by_field(statistics: pl.DataFrame) -> dict[str, Fitted]:
    """Index the rows of `statistics/patients`."""
    return {row["field"]: row for row in statistics.to_dicts()}


def quarantined(rows: pl.DataFrame, raw: pl.LazyFrame, batch_id: str) -> pl.DataFrame:
    """Return the rejected rows as received, with all their reasons."""
    rejected = rows.lazy().filter(~pl.col("accepted")).select("source_line", reasons=_reasons())
    received = raw.join(rejected, on="source_line", how="inner")
    return (
        received.select(
            _record_id(batch_id), pl.exclude("record_id", "batch_id"), batch_id=pl.lit(batch_id)
        )
        .select(QUARANTINE_PATIENTS.column_names)
        .collect(engine="streaming")
    )


def staged(
    rows: pl.DataFrame, statistics: pl.DataFrame, source: str, batch_id: str
) -> pl.LazyFrame:
    """Return the accepted rows with the columns of the staging table."""
    fitted = by_field(statistics)
    return (
        rows.lazy()
        .filter("accepted")
        .with_columns(
            pl.col(f.name).fill_null(fitted[f.name]["median"]).alias(f"{f.name}_filled")
            for f in FEATURES
        )
        .with_columns(_normed(f, fitted[f.name]) for f in FEATURES)
        .with_columns(
            _record_id(batch_id),
            *(pl.col(f.name).cast(pl.Int32) for f in FIELDS if f.kind == "integer"),
            source=pl.lit(source),
            batch_id=pl.lit(batch_id),
        )
        .select(STAGING_PATIENTS.column_names)
    )


def _number(field: Field) -> pl.Expr:
    # A text that only polars calls a number does not exist: "1d", "0x1p3" and "1_0" fail here.
    return pl.col(field.name).cast(pl.Float64, strict=False)


def _is_missing(field: Field) -> pl.Expr:
    codes = pl.col(f"{field.name}_value").is_in(list(map(float, field.missing_codes)))
    return pl.col(field.name).fill_null("").eq("") | codes.fill_null(value=False)


def _finite(field: Field) -> pl.Expr:
    value = pl.col(f"{field.name}_value")
    # Adding zero turns -0.0 into 0.0.
    return pl.when(value.is_finite() & ~_is_missing(field)).then(value + 0.0)


def _unreadable(field: Field) -> pl.Expr:
    value = pl.col(f"{field.name}_value")
    readable = value.is_finite().fill_null(value=False) | _is_missing(field)
    return pl.when(~readable).then(pl.format("{}={}", pl.lit(field.name), pl.col(field.name)))


def _reason(field: Field) -> pl.Expr:
    value = pl.col(f"{field.name}_value")
    rules = [
        (_is_missing(field), MISSING if field.required else None),
        (value.is_null(), NOT_A_NUMBER),
        (~value.is_finite(), NOT_FINITE),
    ]
    if field.kind == "integer":
        rules.append((value != value.floor(), NOT_AN_INTEGER))
    if field.allowed is not None:
        rules.append((~value.is_in(list(map(float, field.allowed))), NOT_ALLOWED))
    else:
        rules.append((value < field.minimum, BELOW_MINIMUM))
        rules.append((value > field.maximum, ABOVE_MAXIMUM))
    none = pl.lit(None, REASON)
    return reduce(
        lambda otherwise, rule: pl.when(rule[0]).then(pl.lit(rule[1], REASON)).otherwise(otherwise),
        reversed(rules),
        none,
    )


def passes() -> pl.Expr:
    """Whether the row passes every row rule."""
    return pl.all_horizontal(pl.col(f"{field.name}_reason").is_null() for field in FIELDS)


def _is_outlier(field: Field, fitted: Fitted) -> pl.Expr:
    # A value that its row rule refuses is no outlier too.
    allowed = pl.col(f"{field.name}_reason").is_null()
    value, lower, upper = pl.col(field.name), fitted["lower_fence"], fitted["upper_fence"]
    beyond = (value < pl.lit(lower, pl.Float64)) | (value > pl.lit(upper, pl.Float64))
    return (beyond & allowed).fill_null(value=False)


def _normed(field: Field, fitted: Fitted) -> pl.Expr:
    scale = (fitted["q3"] - fitted["q1"]) or 1.0
    filled = pl.col(f"{field.name}_filled")
    # By a scalar polars does not divide, it multiplies by the reciprocal: another last bit.
    scaled: pl.Expr = (filled - fitted["median"]) / (filled * 0.0 + scale)
    return scaled.alias(f"{field.name}_normed")


def _reasons() -> pl.Expr:
    by_row = [
        pl.format("{}:{}", pl.lit(f.name), pl.col(f"{f.name}_reason").cast(pl.String))
        for f in FIELDS
    ]
    outliers = [
        pl.when(f"outlier_{f.name}").then(pl.lit(str(Reason(f.name, OUTLIER)))) for f in FEATURES
    ]
    duplicate = pl.when("duplicate").then(pl.lit(str(Reason("record", DUPLICATE))))
    return pl.concat_list(*by_row, *outliers, duplicate).list.drop_nulls()


def _record_id(batch_id: str) -> pl.Expr:
    return pl.format("{}-{}", pl.lit(batch_id), pl.col("source_line")).alias("record_id")
