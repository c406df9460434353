"""Validation of patients and confirmed outcomes with the contract's rules and error codes.

A patient is a JSON object of numbers. A number written as text (`"148"`) is rejected as
`not_a_number`: JSON has numbers, and guessing hides a caller's mistake. All other rules are the
contract's. Pydantic only: HTTP belongs in `problems` and `bodies`.
"""

import math
from collections.abc import Callable
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
from pydantic_core import ErrorDetails, PydanticCustomError, from_json
from typing_extensions import TypedDict

from diabetes_platform.contract.fields import (
    FEATURE_NAMES,
    FEATURES,
    FIELDS_BY_ALIAS,
    FIELDS_BY_NAME,
    OUTCOME,
    Field,
)
from diabetes_platform.contract.validation import (
    MISSING,
    NOT_A_NUMBER,
    NOT_FINITE,
    parse,
    reason_for,
)

UNKNOWN_FIELD = "unknown_field"
GIVEN_TWICE = "given_twice"
NOT_AN_OBJECT = "not_an_object"
NOT_JSON = "not_json"

_MAX_ECHO_LENGTH = 100
_OUTCOME_OBJECT = f'a JSON object {{"{OUTCOME.name}": {OUTCOME.allowed_text}}}'


class FieldError(TypedDict):
    """One error of a request: the field, a stable code, the value received and what is allowed."""

    field: str
    code: str
    given: Any
    allowed: str


def _validator(field: Field) -> Callable[[float | None], float | None]:
    """Return the contract's validator of one value, which raises an error with a code."""
    minimum, maximum, codes = field.minimum, field.maximum, frozenset(field.missing_codes)
    integer = field.kind == "integer"

    def validate(value: float | None) -> float | None:
        # The fast path for a valid value: this runs for each value of each request.
        if (
            value is not None
            and minimum <= value <= maximum
            and value not in codes
            and not (integer and value % 1)
        ):
            return value
        reason = reason_for(field, value)
        if reason is None:
            return parse(field, value).value
        raise PydanticCustomError(reason.code, "not allowed")

    return validate


def _json_schema(field: Field) -> dict[str, Any]:
    number = {"type": field.kind, "minimum": field.minimum, "maximum": field.maximum}
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

_DEFINITIONS: dict[str, Any] = {field.name: _definition(field) for field in FEATURES}

Patient: type[BaseModel] = create_model(
    "Patient",
    __config__=ConfigDict(
        extra="forbid",
        frozen=True,
        loc_by_alias=False,
        # An error's text may be logged; a measurement must not be.
        hide_input_in_errors=True,
        json_schema_extra={"examples": [EXAMPLE_PATIENT]},
    ),
    __doc__="The measurements of one patient.",
    **_DEFINITIONS,
)


def field_errors(error: ValidationError) -> list[FieldError]:
    """Return the errors of a `Patient`, in field order."""
    return [_field_error(details) for details in error.errors(include_url=False)]


def read_outcome(body: bytes) -> int | list[FieldError]:
    """Return the outcome in a JSON body, or all its errors."""
    try:
        document = from_json(body, allow_inf_nan=True)
    except ValueError as error:
        return [FieldError(field="body", code=NOT_JSON, given=str(error), allowed=_OUTCOME_OBJECT)]
    if not isinstance(document, dict):
        return [
            FieldError(
                field="body", code=NOT_AN_OBJECT, given=echo(document), allowed=_OUTCOME_OBJECT
            )
        ]
    errors = [
        FieldError(
            field=str(echo(name)), code=UNKNOWN_FIELD, given=echo(value), allowed=OUTCOME.name
        )
        for name, value in document.items()
        if name != OUTCOME.name
    ]
    value = document.get(OUTCOME.name)
    # As for the measurements, text is not a number.
    outcome = (
        [_outcome_error(NOT_A_NUMBER, value)] if isinstance(value, str) else parse_outcome(value)
    )
    if isinstance(outcome, int):
        return errors or outcome
    return [*errors, *outcome]


def parse_outcome(value: object) -> int | list[FieldError]:
    """Return the outcome in a number or text, or its errors."""
    reason = reason_for(OUTCOME, value)
    if reason is not None:
        return [_outcome_error(reason.code, value)]
    outcome = parse(OUTCOME, value).value
    return [_outcome_error(MISSING, value)] if outcome is None else int(outcome)


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


def _outcome_error(code: str, value: object) -> FieldError:
    return FieldError(
        field=OUTCOME.name, code=code, given=echo(value), allowed=OUTCOME.allowed_text
    )


def _field_error(details: ErrorDetails) -> FieldError:
    kind, value = details["type"], details["input"]
    name = str(details["loc"][0]) if details["loc"] else ""
    if kind == "json_invalid":
        return FieldError(
            field="body", code=NOT_JSON, given=details["ctx"]["error"], allowed="a JSON object"
        )
    if kind == "model_type":
        return FieldError(
            field="body", code=NOT_AN_OBJECT, given=echo(value), allowed="a JSON object"
        )
    if kind == "extra_forbidden":
        return _unknown_field_error(name, value)
    # Pydantic's input of a missing field is the whole object.
    value = None if kind == "missing" else value
    code = _number_code(value) if kind in {"missing", "float_type"} else kind
    return FieldError(
        field=name, code=code, given=echo(value), allowed=FIELDS_BY_NAME[name].allowed_text
    )


def _number_code(value: object) -> str:
    if value is None:
        return MISSING
    # An integer that is not a float is one beyond the largest float.
    too_large = isinstance(value, int) and not isinstance(value, bool)
    return NOT_FINITE if too_large else NOT_A_NUMBER


def _unknown_field_error(name: str, value: object) -> FieldError:
    field = FIELDS_BY_ALIAS.get(name)
    if field is not None and field.name in FEATURE_NAMES:
        return FieldError(
            field=field.name,
            code=GIVEN_TWICE,
            given=echo(value),
            allowed=f"either {field.name} or {name}",
        )
    return FieldError(
        field=str(echo(name)),
        code=UNKNOWN_FIELD,
        given=echo(value),
        allowed="one of " + ", ".join(FEATURE_NAMES),
    )
