"""Validation of patients and confirmed outcomes with the contract's rules and error codes.

A patient is a JSON object of numbers. A number written as text (`"148"`) is rejected as
`not_a_number`: JSON has numbers, and guessing hides a caller's mistake. All other rules are the
contract's. Pydantic only: HTTP belongs in `problems` and `bodies`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Strict,
    ValidationError,
    WithJsonSchema,
    create_model,
)
from pydantic import Field as PydanticField
from pydantic_core import ErrorDetails, PydanticCustomError
from typing_extensions import TypedDict

from diabetes_platform.contract.fields import (
    FEATURES,
    FIELDS_BY_ALIAS,
    FIELDS_BY_NAME,
    OUTCOME,
    Field,
)
from diabetes_platform.contract.validation import MISSING, NOT_A_NUMBER, NOT_FINITE, reason_for

UNKNOWN_FIELD = "unknown_field"
GIVEN_TWICE = "given_twice"
NOT_AN_OBJECT = "not_an_object"
NOT_JSON = "not_json"

_MAX_ECHO_LENGTH = 100


class FieldError(TypedDict):
    """One error of a request: the field, a stable code, the value received and what is allowed."""

    field: str
    code: str
    given: Any
    allowed: str


def field_error(field: str, code: str, value: object, allowed: str) -> FieldError:
    """Return an error; a long or large `value` is shortened."""
    return FieldError(field=field, code=code, given=echo(value), allowed=allowed)


def _validator(field: Field) -> Callable[[float | None], float | None]:
    """Return the contract's validator of one value, which raises an error with a code."""
    minimum = field.minimum
    maximum = field.maximum
    missing_codes = field.missing_codes
    integer = field.kind == "integer"
    required = field.required
    is_range = field.allowed is None

    def validate(value: float | None) -> float | None:
        # The fast paths of valid values: this runs for each value of each request. The contract
        # has no code for a missing value within the bounds.
        if value is None:
            if not required:
                return None
        elif minimum <= value <= maximum and is_range and not (integer and value % 1):
            return value
        elif value in missing_codes:
            return None
        reason = reason_for(field, value)
        if reason is not None:
            raise PydanticCustomError(reason.code, "not allowed")
        return value

    return validate


def _json_schema(field: Field) -> dict[str, Any]:
    enum = {} if field.allowed is None else {"enum": list(field.allowed)}
    number = {"type": field.kind, "minimum": field.minimum, "maximum": field.maximum, **enum}
    unit = {"x-unit": field.unit, "x-step": field.step}
    if field.required:
        return {**number, **unit}
    codes = [{"const": code} for code in field.missing_codes]
    return {"anyOf": [number, *codes, {"type": "null"}], **unit}


def _description(field: Field) -> str:
    codes = " or ".join(f"{code:g}" for code in field.missing_codes)
    missing = f" Not measured: null, absent{f' or {codes}' if codes else ''}."
    return (
        f"{field.description} Allowed: {field.allowed_text}."
        f"{'' if field.required else missing} Also accepted as `{field.alias}`."
    )


def _definition(field: Field) -> tuple[Any, Any]:
    value = Annotated[
        Annotated[float, Strict()] | None,
        AfterValidator(_validator(field)),
        WithJsonSchema(_json_schema(field)),
        PydanticField(
            title=field.label,
            description=_description(field),
            examples=[field.example],
            validation_alias=AliasChoices(field.name, field.alias),
        ),
    ]
    return (value, ... if field.required else None)


EXAMPLE_PATIENT: dict[str, Any] = {field.name: field.example for field in FEATURES}


def _model(name: str, description: str, *fields: Field) -> type[BaseModel]:
    definitions: dict[str, Any] = {field.name: _definition(field) for field in fields}
    config = ConfigDict(
        extra="forbid",
        frozen=True,
        loc_by_alias=False,
        # An error's text may be logged; a measurement must not be.
        hide_input_in_errors=True,
        json_schema_extra={"examples": [{field.name: field.example for field in fields}]},
    )
    return create_model(name, __config__=config, __doc__=description, **definitions)


REQUIRED_OUTCOME = replace(OUTCOME, required=True)
Patient = _model("Patient", "The measurements of one patient.", *FEATURES)
OutcomeBody = _model("Outcome", "The confirmed outcome of one patient.", REQUIRED_OUTCOME)


def validate_json(model: type[BaseModel], body: bytes) -> dict[str, float | None]:
    """Return the values of a `Patient` or an `OutcomeBody` by name; raise ValidationError."""
    values: dict[str, float | None] = vars(model.__pydantic_validator__.validate_json(body))
    return values


def outcome_of(value: float | None) -> int:
    """Return a validated outcome as 0 or 1; raise ValueError if it is None."""
    if value is None:
        raise ValueError("the outcome is missing")
    return int(value)


def field_errors(error: ValidationError, fields: Sequence[Field]) -> list[FieldError]:
    """Return the errors of an object with `fields`: in field order, then unknown fields."""
    names = [field.name for field in fields]
    return [_field_error(details, names) for details in error.errors(include_url=False)]


def echo(value: object) -> object:
    """Return a received value for display in an error: numbers and short texts unchanged."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**63:
        return "a number beyond 64 bits"
    if isinstance(value, str) and len(value) > _MAX_ECHO_LENGTH:
        return f"{value[:_MAX_ECHO_LENGTH]}…"
    return value


def _field_error(details: ErrorDetails, names: Sequence[str]) -> FieldError:
    kind, value = details["type"], details["input"]
    name = str(details["loc"][0]) if details["loc"] else "body"
    if kind == "json_invalid":
        return field_error(name, NOT_JSON, details["ctx"]["error"], "a JSON object")
    if kind == "model_type":
        return field_error(name, NOT_AN_OBJECT, value, "a JSON object")
    if kind == "extra_forbidden":
        field = FIELDS_BY_ALIAS.get(name)
        if field is not None and field.name in names:
            return field_error(field.name, GIVEN_TWICE, value, f"either {field.name} or {name}")
        allowed = "one of " + ", ".join(names) if len(names) > 1 else names[0]
        return field_error(str(echo(name)), UNKNOWN_FIELD, value, allowed)
    if kind == "missing":
        kind = MISSING
        value = None  # pydantic's input is the whole object
    elif kind == "float_type":
        # An integer that is not a float is one beyond the largest float.
        kind = NOT_FINITE if type(value) is int else NOT_A_NUMBER
    return field_error(name, kind, value, FIELDS_BY_NAME[name].allowed_text)
