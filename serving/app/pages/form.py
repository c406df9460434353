"""The patient form: inputs rendered from the contract, and validation of what was typed.

A form sends text, which the contract reads in the same way as the text of every other source.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import parse_qsl

from diabetes_platform.contract.fields import FEATURES, Field
from diabetes_platform.contract.validation import parse, reason_for
from serving.app.validation import FieldError

FORM = b"application/x-www-form-urlencoded"
FORM_ID = "form_id"
"""The hidden input that identifies a form, so that sending it twice stores one patient."""
_MAX_FIELDS = 50
_MAX_TEXT_LENGTH = 100

_PHRASES = {
    "missing": "is required",
    "not_a_number": "is not a number",
    "not_finite": "is not a finite number",
    "not_an_integer": "must be a whole number",
    "below_minimum": "is too low",
    "above_maximum": "is too high",
    "not_allowed": "is not allowed",
}


class FormError(ValueError):
    """The body is not a form that this page could have sent."""


@dataclass(frozen=True, slots=True)
class FormInput:
    """One input with its label, help, bounds, value and error."""

    name: str
    label: str
    unit: str
    help: str
    minimum: str
    maximum: str
    step: str
    required: bool
    integer: bool
    example: str
    value: str
    error: str | None

    @property
    def describedby(self) -> str:
        """The ids of the input's help and error, for `aria-describedby`."""
        return f"{self.name}-help" + (f" {self.name}-error" if self.error else "")


@dataclass(frozen=True, slots=True)
class FormData:
    """A submitted form: the texts as typed, and their errors."""

    texts: Mapping[str, str]
    errors: Sequence[FieldError]

    @property
    def measurements(self) -> dict[str, float | None]:
        """The measurements of a form without errors, None if not measured."""
        return {field.name: parse(field, self.texts.get(field.name)).value for field in FEATURES}

    @property
    def idempotency_key(self) -> str | None:
        """The key of this form with these values; None without a form id.

        A form sent again with a changed value is another patient.
        """
        form_id = self.texts.get(FORM_ID)
        if not form_id:
            return None
        values = json.dumps([form_id, self.measurements], sort_keys=True)
        return f"page-{sha256(values.encode()).hexdigest()}"


EMPTY_FORM = FormData({}, ())


def read_form(body: bytes) -> dict[str, str]:
    """Return the texts of a form by name; raise FormError if this page cannot have sent it."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            max_num_fields=_MAX_FIELDS,
            errors="strict",
        )
    except ValueError as error:
        raise FormError("the body is not a form") from error
    texts = dict(pairs)
    if len(texts) != len(pairs):
        raise FormError("the form has a field twice")
    return texts


def validate_form(texts: Mapping[str, str]) -> FormData:
    """Return the form with all its errors."""
    errors = []
    for field in FEATURES:
        text = texts.get(field.name)
        reason = reason_for(field, text)
        if reason is not None:
            errors.append(
                FieldError(
                    field=field.name,
                    code=reason.code,
                    given=text,
                    allowed=field.allowed_text,
                )
            )
    return FormData({name: text[:_MAX_TEXT_LENGTH] for name, text in texts.items()}, errors)


def form_inputs(form: FormData) -> list[FormInput]:
    """Return the inputs of the form with their values and errors."""
    messages = {error["field"]: error_message(error) for error in form.errors}
    return [_form_input(field, form, messages.get(field.name)) for field in FEATURES]


def error_message(error: FieldError) -> str:
    """Return what is wrong and what is allowed, for the person at the form."""
    phrase = _PHRASES.get(error["code"], "is not allowed")
    return f"This {phrase}. Allowed: {error['allowed']}."


def unit_of(field: Field) -> str:
    """Return the unit to show; empty for a count or a plain number."""
    return "" if field.unit in {"1", "count"} else field.unit


def _form_input(field: Field, form: FormData, error: str | None) -> FormInput:
    return FormInput(
        name=field.name,
        label=field.label,
        unit=unit_of(field),
        help=field.description,
        minimum=f"{field.minimum:g}",
        maximum=f"{field.maximum:g}",
        step=f"{field.step:g}",
        required=field.required,
        integer=field.kind == "integer",
        example=f"{field.example:g}",
        value=form.texts.get(field.name, ""),
        error=error,
    )
