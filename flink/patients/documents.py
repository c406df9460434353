"""Reading the JSON of a message: from bytes to an object, or why it is none."""

import json

import orjson

from diabetes_platform.contract.change_events import (
    NESTED_TOO_DEEPLY,
    NOT_AN_OBJECT,
    NOT_JSON,
    EventField,
)
from diabetes_platform.contract.validation import Reason

_TOO_DEEP = "Recursion limit"
Document = dict[str, object]


def read_object(part: EventField, content: bytes) -> tuple[Document, tuple[str, ...]]:
    """Return the JSON object in `content`, or an empty one with the reasons why there is none.

    `NaN` and numbers beyond the doubles are no JSON, but are read, so that what is wrong with
    the rest is said too.
    """
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if _TOO_DEEP in str(error):
            return {}, (str(Reason(part, NESTED_TOO_DEEPLY)),)
        return _leniently(part, content)
    return _object(part, document, ())


def _leniently(part: EventField, content: bytes) -> tuple[Document, tuple[str, ...]]:
    reason = str(Reason(part, NOT_JSON))
    try:
        document = json.loads(content)
    except RecursionError:
        return {}, (str(Reason(part, NESTED_TOO_DEEPLY)),)
    except ValueError:  # UnicodeDecodeError and JSONDecodeError are such
        return {}, (reason,)
    return _object(part, document, (reason,))


def _object(
    part: EventField, document: object, reasons: tuple[str, ...]
) -> tuple[Document, tuple[str, ...]]:
    if isinstance(document, dict):
        return document, reasons
    return {}, (*reasons, str(Reason(part, NOT_AN_OBJECT)))
