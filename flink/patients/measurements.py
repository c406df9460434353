"""The measurements of an image held to the contract: their values, and all that is wrong."""

from dataclasses import dataclass

from diabetes_platform.contract.events import DIABETES_NEW_CHANGED
from diabetes_platform.contract.fields import FIELDS, Field
from diabetes_platform.contract.validation import (
    MISSING,
    NOT_A_NUMBER,
    Reason,
    parse,
    reason_for,
)
from flink.patients.documents import Document

_NECESSARY = frozenset(DIABETES_NEW_CHANGED.required_image_keys)


@dataclass(frozen=True, slots=True)
class _Range:
    """What of a field can be told at once: a number of its kind within its bounds is allowed."""

    field: Field
    name: str
    kinds: tuple[type, ...]
    minimum: float
    maximum: float
    optional: bool


_RANGES = tuple(
    _Range(
        field,
        field.name,
        (int,) if field.kind == "integer" else (float, int),
        field.minimum,
        field.maximum,
        not field.required,
    )
    for field in FIELDS
)


def read_measurements(image: Document) -> tuple[dict[str, float | None], list[str]]:
    """Return the value of each of the contract's fields, and all reasons to reject the image.

    The contract decides; only what it surely allows is not laid before it, for most values are.
    A key that a change must carry is missing also where its value may be.
    """
    values: dict[str, float | None] = {}
    reasons: list[str] = []
    for each in _RANGES:
        given = image.get(each.name)
        if type(given) in each.kinds and each.minimum <= given <= each.maximum:  # type: ignore[operator]
            values[each.name] = given  # type: ignore[assignment]
        elif given is None and each.optional and (each.name in image or not _needed(each)):
            values[each.name] = None
        else:
            values[each.name] = _judge(each.field, image, reasons)
    return values, reasons


def _needed(each: _Range) -> bool:
    return each.name in _NECESSARY


def _judge(field: Field, image: Document, reasons: list[str]) -> float | None:
    given = image.get(field.name)
    if field.name not in image and field.name in _NECESSARY:
        reasons.append(str(Reason(field.name, MISSING)))
        return None
    if isinstance(given, str):
        # A table of text may hold "148"; a column of numbers does not send it.
        reasons.append(str(Reason(field.name, NOT_A_NUMBER)))
        return None
    reason = reason_for(field, given)
    if reason is not None:
        reasons.append(str(reason))
        return None
    value = parse(field, given).value
    return int(value) if value is not None and field.kind == "integer" else value
