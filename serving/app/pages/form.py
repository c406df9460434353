"""The form of a patient: its fields rendered from the contract, and what a person typed into it.

A form sends text. What the text means is the contract's judgement, as for every other source.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import parse_qsl

from diabetes_platform.contract.fields import FEATURES, Field
from diabetes_platform.contract.validation import parse, reason_for
from serving.app.models import FieldError

FORM = b"application/x-www-form-urlencoded"
FORM_ID = "form_id"
"""The hidden input by which a form that is sent again is known."""
_MOST_FIELDS = 50
_LONGEST_TEXT = 100

_WORDS = {
    "missing": "is needed",
    "not_a_number": "is not a number",
    "not_finite": "is not a finite number",
    "not_an_integer": "must be a whole number",
    "below_minimum": "is too low",
    "above_maximum": "is too high",
    "not_allowed": "is not allowed",
}


class FormError(ValueError):
    """The body is no form of this page."""


@dataclass(frozen=True, slots=True)
class FormField:
    """One input with all that a person needs to fill it in."""

    name: str
    label: str
    unit: str
    help: str
    minimum: str
    maximum: str
    step: str
    required: bool
    whole: bool
    example: str
    value: str
    error: str | None

    @property
    def describedby(self) -> str:
        """The ids of the texts that belong to the input, for `aria-describedby`."""
        return f"{self.name}-help" + (f" {self.name}-error" if self.error else "")


@dataclass(frozen=True, slots=True)
class Entry:
    """A filled-in form: the texts as typed, and the measurements or the faults in them."""

    texts: Mapping[str, str]
    errors: Sequence[FieldError]

    @property
    def measurements(self) -> dict[str, float | None]:
        """The measurements of a form without faults, None where not measured."""
        return {field.name: parse(field, self.texts.get(field.name)).value for field in FEATURES}

    @property
    def key(self) -> str | None:
        """The idempotency key: of this form with these values; None of a form without its id.

        Whoever changes a value before sending again means another patient.
        """
        form_id = self.texts.get(FORM_ID)
        if not form_id:
            return None
        values = json.dumps([form_id, self.measurements], sort_keys=True)
        return f"page-{sha256(values.encode()).hexdigest()}"


EMPTY = Entry({}, ())


def read_form(body: bytes) -> dict[str, str]:
    """Return the texts of a form by name; FormError for what no browser sends from this page."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            max_num_fields=_MOST_FIELDS,
            errors="strict",
        )
    except ValueError as error:
        raise FormError("the body is no form") from error
    texts = dict(pairs)
    if len(texts) != len(pairs):
        raise FormError("a field is given twice")
    return texts


def judge(texts: Mapping[str, str]) -> Entry:
    """Return the form with all the faults that the contract finds."""
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
    return Entry({name: text[:_LONGEST_TEXT] for name, text in texts.items()}, errors)


def form_fields(entry: Entry) -> list[FormField]:
    """Return the inputs of the form, filled in as `entry` is."""
    errors = {error["field"]: explain(error) for error in entry.errors}
    return [_form_field(field, entry, errors.get(field.name)) for field in FEATURES]


def explain(error: FieldError) -> str:
    """Say in a sentence what is wrong and what is allowed."""
    words = _WORDS.get(error["code"], "is not allowed")
    return f"This {words}. Allowed: {error['allowed']}."


def unit_of(field: Field) -> str:
    """Return the unit as a person reads it, nothing for a count or a plain number."""
    return "" if field.unit in {"1", "count"} else field.unit


def _form_field(field: Field, entry: Entry, error: str | None) -> FormField:
    return FormField(
        name=field.name,
        label=field.label,
        unit=unit_of(field),
        help=field.description,
        minimum=f"{field.minimum:g}",
        maximum=f"{field.maximum:g}",
        step=f"{field.step:g}",
        required=field.required,
        whole=field.kind == "integer",
        example=f"{field.example:g}",
        value=entry.texts.get(field.name, ""),
        error=error,
    )
