"""From pydantic's errors to the platform's: field, code, given, allowed. Pure functions."""

import math

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from diabetes_platform.contract.fields import FEATURE_NAMES, FIELDS_BY_ALIAS, FIELDS_BY_NAME
from diabetes_platform.contract.validation import MISSING, NOT_A_NUMBER, NOT_FINITE
from serving.app.models import FieldError

UNKNOWN_FIELD = "unknown_field"
GIVEN_TWICE = "given_twice"
NOT_AN_OBJECT = "not_an_object"
NOT_JSON = "not_json"

_LONGEST_ECHO = 100


def field_errors(error: ValidationError) -> list[FieldError]:
    """Return all the reasons to refuse, in field order."""
    return [_field_error(one) for one in error.errors(include_url=False)]


def echo(given: object) -> object:
    """Return what to show of a value received: numbers and short text as they are."""
    if isinstance(given, dict):
        return "an object"
    if isinstance(given, list):
        return "a list"
    if isinstance(given, float) and not math.isfinite(given):
        return str(given)
    if isinstance(given, int) and not isinstance(given, bool) and abs(given) > 2**63:
        return "a number beyond 64 bits"
    if isinstance(given, str) and len(given) > _LONGEST_ECHO:
        return f"{given[:_LONGEST_ECHO]}…"
    return given


def _field_error(error: ErrorDetails) -> FieldError:
    kind, given = error["type"], error["input"]
    name = str(error["loc"][0]) if error["loc"] else ""
    if kind == "json_invalid":
        return FieldError(
            field="body", code=NOT_JSON, given=error["ctx"]["error"], allowed="a JSON object"
        )
    if kind == "model_type":
        return FieldError(
            field="body", code=NOT_AN_OBJECT, given=echo(given), allowed="a JSON object"
        )
    if kind == "extra_forbidden":
        return _unknown(name, given)
    given = None if kind == "missing" else given
    code = _number_code(given) if kind in {"missing", "float_type"} else kind
    return FieldError(
        field=name, code=code, given=echo(given), allowed=FIELDS_BY_NAME[name].allowed_text
    )


def _number_code(given: object) -> str:
    if given is None:
        return MISSING
    # A whole number that is no float is one beyond the largest float.
    too_large = isinstance(given, int) and not isinstance(given, bool)
    return NOT_FINITE if too_large else NOT_A_NUMBER


def _unknown(name: str, given: object) -> FieldError:
    field = FIELDS_BY_ALIAS.get(name)
    if field is not None and field.name in FEATURE_NAMES:
        return FieldError(
            field=field.name,
            code=GIVEN_TWICE,
            given=echo(given),
            allowed=f"either {field.name} or {name}",
        )
    return FieldError(
        field=str(echo(name)),
        code=UNKNOWN_FIELD,
        given=echo(given),
        allowed="one of " + ", ".join(FEATURE_NAMES),
    )
