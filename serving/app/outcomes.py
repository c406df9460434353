"""Reading a confirmed outcome, from JSON or from a form. Pure functions."""

from pydantic_core import from_json

from diabetes_platform.contract.fields import OUTCOME
from diabetes_platform.contract.validation import MISSING, NOT_A_NUMBER, parse, reason_for
from serving.app.models import FieldError
from serving.app.verdicts import NOT_AN_OBJECT, NOT_JSON, UNKNOWN_FIELD, echo

_OBJECT = f'a JSON object {{"{OUTCOME.name}": {OUTCOME.allowed_text}}}'


def read_outcome(body: bytes) -> int | list[FieldError]:
    """Return the outcome in a JSON body, or all the reasons against it."""
    try:
        given = from_json(body, allow_inf_nan=True)
    except ValueError as error:
        return [FieldError(field="body", code=NOT_JSON, given=str(error), allowed=_OBJECT)]
    if not isinstance(given, dict):
        return [FieldError(field="body", code=NOT_AN_OBJECT, given=echo(given), allowed=_OBJECT)]
    errors = [
        FieldError(
            field=str(echo(name)), code=UNKNOWN_FIELD, given=echo(value), allowed=OUTCOME.name
        )
        for name, value in given.items()
        if name != OUTCOME.name
    ]
    value = given.get(OUTCOME.name)
    # JSON has numbers: the same rule as for the measurements.
    judged = _refused(NOT_A_NUMBER, value) if isinstance(value, str) else judge_outcome(value)
    if isinstance(judged, int) and not errors:
        return judged
    return [*errors, *([] if isinstance(judged, int) else judged)]


def judge_outcome(value: object) -> int | list[FieldError]:
    """Return the outcome that a number or text says, or why it says none."""
    reason = reason_for(OUTCOME, value)
    if reason is not None:
        return _refused(reason.code, value)
    outcome = parse(OUTCOME, value).value
    return _refused(MISSING, value) if outcome is None else int(outcome)


def _refused(code: str, given: object) -> list[FieldError]:
    return [
        FieldError(field=OUTCOME.name, code=code, given=echo(given), allowed=OUTCOME.allowed_text)
    ]
