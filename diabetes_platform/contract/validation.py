"""The row validator: all reasons to reject a record, as pure functions of its values.

Rules about several rows (duplicates, outliers) belong to `cleaning/`.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

from diabetes_platform.contract.fields import FIELDS, FIELDS_BY_NAME, Field

NUMBER_PATTERN = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
"""A decimal number as text. The casts of engines are not used: Spark's accept `1d` and `0x1p3`."""
NOT_FINITE_PATTERN = r"^[+-]?([nN][aA][nN]|[iI][nN][fF]([iI][nN][iI][tT][yY])?)$"

MISSING_TEXTS: frozenset[str] = frozenset(
    {
        *("na", "n/a", "#n/a", "<na>", "n.a.", "nan", "+nan", "-nan", "null", "nil", "none"),
        *(r"\n", "?", ".", "-", "--", "\u2013", "\u2014"),
        *("missing", "unknown", "not available", "not measured"),
    }
)
"""Texts that sources write for a missing value, in lower case."""

MISSING = "missing"
NOT_A_NUMBER = "not_a_number"
NOT_FINITE = "not_finite"
NOT_AN_INTEGER = "not_an_integer"
BELOW_MINIMUM = "below_minimum"
ABOVE_MAXIMUM = "above_maximum"
NOT_ALLOWED = "not_allowed"
DUPLICATE = "duplicate"
OUTLIER = "outlier"

_NUMBER = re.compile(NUMBER_PATTERN)
_NOT_FINITE = re.compile(NOT_FINITE_PATTERN)


@dataclass(frozen=True, slots=True, order=True)
class Reason:
    """Why a record is rejected: the field and a stable code, written `glucose:above_maximum`."""

    field: str
    code: str

    def __str__(self) -> str:
        return f"{self.field}:{self.code}"

    def explain(self, value: object) -> str:
        """Return the field, its value and the allowed range, for the person who sent it."""
        allowed = FIELDS_BY_NAME[self.field].allowed_text
        value_text = "missing" if value is None else repr(value)
        return f"{self.field} is {value_text} ({self.code.replace('_', ' ')}); allowed: {allowed}"


@dataclass(frozen=True, slots=True)
class Parsed:
    """A parsed value: a finite number, or None, with a code if it is not missing."""

    value: float | None
    code: str | None = None


def parse(field: Field, received: object, missing_texts: Collection[str] = MISSING_TEXTS) -> Parsed:
    """Parse a value as received (text, number or None); a code for missing becomes None.

    Text that is empty, or one of `missing_texts` in any case, is missing as well, and so is a
    number that they contain: `-9` stands for `-9.0`, too.
    """
    if received is None:
        return Parsed(None)
    if isinstance(received, str):
        text = received.strip(" ")
        is_missing = not text or text.lower() in missing_texts
        parsed = Parsed(None) if is_missing else _from_text(field, text)
    elif isinstance(received, bool) or not isinstance(received, int | float):
        return Parsed(None, NOT_A_NUMBER)
    else:
        parsed = _from_number(field, received)
    if parsed.value is not None and parsed.value in missing_numbers(missing_texts):
        return Parsed(None)
    return parsed


def missing_numbers(missing_texts: Collection[str]) -> tuple[float, ...]:
    """Return the texts that are numbers, as numbers, in order."""
    return _numbers(frozenset(missing_texts))


@lru_cache(maxsize=8)
def _numbers(texts: frozenset[str]) -> tuple[float, ...]:
    return tuple(sorted({float(text) for text in texts if _NUMBER.fullmatch(text)}))


def _from_text(field: Field, text: str) -> Parsed:
    if _NOT_FINITE.fullmatch(text):
        return Parsed(None, NOT_FINITE)
    if not _NUMBER.fullmatch(text):
        return Parsed(None, NOT_A_NUMBER)
    return _from_number(field, float(text))


def _from_number(field: Field, number: float) -> Parsed:
    try:
        value = float(number)
    except OverflowError:  # an int beyond the doubles
        return Parsed(None, NOT_FINITE)
    if not math.isfinite(value):
        return Parsed(None, NOT_FINITE)
    return Parsed(None if value in field.missing_codes else value)


def reason_for(field: Field, received: object) -> Reason | None:
    """Return the reason to reject a record with this value; None for a valid value."""
    return reason_for_parsed(field, parse(field, received))


def reason_for_parsed(field: Field, parsed: Parsed) -> Reason | None:
    """Return the reason to reject a record with this parsed value; None for a valid value."""
    code = parsed.code if parsed.code is not None else _broken_rule(field, parsed.value)
    return None if code is None else Reason(field.name, code)


def reasons_to_reject(
    row: Mapping[str, object], fields: tuple[Field, ...] = FIELDS
) -> tuple[Reason, ...]:
    """Return all reasons to reject `row`, in field order; a field that is absent is missing."""
    reasons = (reason_for(field, row.get(field.name)) for field in fields)
    return tuple(reason for reason in reasons if reason is not None)


def _broken_rule(field: Field, value: float | None) -> str | None:
    if value is None:
        return MISSING if field.required else None
    if field.kind == "integer" and value != math.floor(value):
        return NOT_AN_INTEGER
    if field.allowed is not None:
        return None if value in field.allowed else NOT_ALLOWED
    if value < field.minimum:
        return BELOW_MINIMUM
    if value > field.maximum:
        return ABOVE_MAXIMUM
    return None
