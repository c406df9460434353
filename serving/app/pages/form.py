"""The patient form: inputs rendered from the contract, and validation of what was typed.

A form sends text, which the contract reads in the same way as the text of every other source.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import parse_qsl

from diabetes_platform.contract.fields import FEATURES, Field
from diabetes_platform.contract.validation import parse, reason_for

FORM = "application/x-www-form-urlencoded"
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


@dataclass(frozen=True, slots=True)
class FormData:
    """A form: the texts as typed, and the error message of each invalid field."""

    texts: Mapping[str, str]
    errors: Mapping[str, str]

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


EMPTY_FORM = FormData({}, {})


def read_form(body: bytes) -> dict[str, str]:
    """Return the texts of a form by name; raise ValueError if this page cannot have sent it."""
    pairs = parse_qsl(
        body.decode("ascii"),
        keep_blank_values=True,
        strict_parsing=bool(body),
        max_num_fields=_MAX_FIELDS,
        errors="strict",
    )
    texts = dict(pairs)
    if len(texts) != len(pairs):
        raise ValueError("the form has a field twice")
    return texts


def validate_form(texts: Mapping[str, str]) -> FormData:
    """Return the form with all its errors."""
    messages = {field.name: error_message(field, texts.get(field.name)) for field in FEATURES}
    return FormData(
        {name: text[:_MAX_TEXT_LENGTH] for name, text in texts.items()},
        {name: message for name, message in messages.items() if message is not None},
    )


def error_message(field: Field, text: str | None) -> str | None:
    """Return what is wrong with a text and what is allowed; None for a valid text."""
    reason = reason_for(field, text)
    if reason is None:
        return None
    return f"This {_PHRASES[reason.code]}. Allowed: {field.allowed_text}."


def unit_of(field: Field) -> str:
    """Return the unit to show; empty for a count or a plain number."""
    return "" if field.unit in {"1", "count"} else field.unit
