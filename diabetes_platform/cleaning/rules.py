"""The contract's row rules as Spark expressions, equivalent to `contract/validation.py`.

Each step is a separate projection, so that an engine computes an intermediate column once. Names
that begin with `_` are intermediate columns; `clean.py` drops them.
"""

from collections.abc import Collection

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as sf

from diabetes_platform.contract.fields import FIELDS, Field
from diabetes_platform.contract.validation import (
    ABOVE_MAXIMUM,
    BELOW_MINIMUM,
    MISSING,
    MISSING_TEXTS,
    NOT_A_NUMBER,
    NOT_ALLOWED,
    NOT_AN_INTEGER,
    NOT_FINITE,
    NOT_FINITE_PATTERN,
    NUMBER_PATTERN,
    Reason,
    missing_numbers,
)


def value_name(field: Field) -> str:
    """Name the intermediate column with the parsed value: a finite number, or NULL if missing."""
    return f"_{field.name}_value"


def reason_name(field: Field) -> str:
    """Name the intermediate column with the row rule's reason to reject, or NULL."""
    return f"_{field.name}_reason"


def with_values(raw: DataFrame, missing_texts: Collection[str] = MISSING_TEXTS) -> DataFrame:
    """Add the trimmed text, the number and the parsed value of each field to raw rows.

    The text is NULL if it is one of `missing_texts`, which are in lower case.
    """
    trimmed = raw.select("*", *(sf.trim(sf.col(f.name)).alias(_trimmed_name(f)) for f in FIELDS))
    texts = trimmed.select("*", *(_present(f, missing_texts) for f in FIELDS))
    numbers = texts.select("*", *(_parsed(f).alias(f"_{f.name}_number") for f in FIELDS))
    return numbers.select("*", *(_value(f).alias(value_name(f)) for f in FIELDS))


def with_reasons(values: DataFrame) -> DataFrame:
    """Add the reason of each field to rows from `with_values`."""
    return values.select("*", *(_reason(f).alias(reason_name(f)) for f in FIELDS))


def unparsed(field: Field) -> Column:
    """The text of a value that is no finite number, else NULL: duplicates compare it as text."""
    finite = sf.col(value_name(field)).isNotNull() | _is_missing(field)
    return sf.when(~finite, _text(field))


def passes_row_rules() -> Column:
    """Return whether no field of the row has a reason."""
    return sf.coalesce(*(sf.col(reason_name(field)) for field in FIELDS)).isNull()


def allowed_value(field: Field) -> Column:
    """The parsed value if it passes its row rule, else NULL."""
    return sf.when(sf.col(reason_name(field)).isNull(), sf.col(value_name(field)))


def _full_match(pattern: str) -> str:
    # Java's `$` also matches before a last line break; `\z` is the end in Java and in Rust.
    return pattern.removesuffix("$") + r"\z"


def _trimmed_name(field: Field) -> str:
    return f"_{field.name}_trimmed"


def _present(field: Field, missing_texts: Collection[str]) -> Column:
    """The trimmed text, or NULL if the source writes it for a missing value."""
    trimmed = sf.col(_trimmed_name(field))
    is_missing = sf.lower(trimmed).isin("", *sorted(missing_texts))
    if numbers := missing_numbers(missing_texts):
        is_missing |= sf.coalesce(_as_number(trimmed).isin(*numbers), sf.lit(False))
    return sf.when(~is_missing, trimmed).alias(f"_{field.name}_text")


def _text(field: Field) -> Column:
    return sf.col(f"_{field.name}_text")


def _number(field: Field) -> Column:
    """The text as a double: infinite if it is out of range, NULL if it is no number."""
    return sf.col(f"_{field.name}_number")


def _parsed(field: Field) -> Column:
    return _as_number(_text(field))


def _as_number(text: Column) -> Column:
    # Casts differ between engines (`1d`, `0x1p3`, tabs), so the contract's pattern comes first.
    # Adding zero turns -0.0 into 0.0, which compares and hashes alike in every engine.
    is_number = text.rlike(_full_match(NUMBER_PATTERN))
    return sf.when(is_number, text.try_cast("double") + sf.lit(0.0))


def _value(field: Field) -> Column:
    number = _number(field)
    finite = ~number.isin(float("inf"), float("-inf"))
    return sf.when(finite & ~_is_code(field), number)


def _is_code(field: Field) -> Column:
    if not field.missing_codes:
        return sf.lit(False)
    return _number(field).isin(*map(float, field.missing_codes))


def _is_missing(field: Field) -> Column:
    text = _text(field)
    return text.isNull() | (text == "") | sf.coalesce(_is_code(field), sf.lit(False))


def _reason(field: Field) -> Column:
    value = sf.col(value_name(field))
    missing = _code(field, MISSING) if field.required else _no_reason()
    named_infinite = _text(field).rlike(_full_match(NOT_FINITE_PATTERN))
    unreadable = (
        sf.when(_is_missing(field), missing)
        .when(_number(field).isNotNull() | named_infinite, _code(field, NOT_FINITE))
        .otherwise(_code(field, NOT_A_NUMBER))
    )
    return sf.when(value.isNull(), unreadable).otherwise(_broken_rule(field, value))


def _broken_rule(field: Field, value: Column) -> Column:
    broken = sf.when(sf.lit(False), _no_reason())
    if field.kind == "integer":
        # Not floor(): Spark's returns a bigint, and 1e308 does not fit into one.
        broken = broken.when(value % sf.lit(1.0) != 0, _code(field, NOT_AN_INTEGER))
    if field.allowed is not None:
        return broken.when(~value.isin(*map(float, field.allowed)), _code(field, NOT_ALLOWED))
    return broken.when(value < float(field.minimum), _code(field, BELOW_MINIMUM)).when(
        value > float(field.maximum), _code(field, ABOVE_MAXIMUM)
    )


def _code(field: Field, code: str) -> Column:
    return sf.lit(str(Reason(field.name, code)))


def _no_reason() -> Column:
    return sf.lit(None).cast("string")
