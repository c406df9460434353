"""A patient on the command line: an option for each measurement of the contract, or a JSON file."""

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from diabetes_platform.contract.fields import FEATURES, Field
from diabetes_platform.contract.validation import reasons_to_reject


def read_json(option: str, path: str) -> dict[str, Any]:
    """Return the JSON object in the file at `path`, `-` for standard input.

    Raises typer.BadParameter, which names `option`, if it cannot be read or is not an object.
    """
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        value = json.loads(text, parse_constant=_reject_constant)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{option}: {error}") from error
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{option}: the JSON must be an object")
    return value


def rejection_reasons(patient: Mapping[str, float]) -> str:
    """Return the reasons to reject `patient`, one per line; an empty string if it is valid.

    They are checked before the request is sent, because JSON has no NaN and no infinities.
    """
    reasons = reasons_to_reject(patient, FEATURES)
    return "\n".join(reason.explain(patient.get(reason.field)) for reason in reasons)


def patient_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a patient to `command`, which takes any keyword arguments."""
    document = inspect.Parameter(
        "json",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            str | None, typer.Option(help="A file with the patient as JSON; - for standard input.")
        ],
    )
    options = inspect.Signature([*map(_option, FEATURES), document])
    command.__signature__ = options  # type: ignore[attr-defined]
    command.__annotations__ = {
        name: option.annotation for name, option in options.parameters.items()
    }
    return command


def _option(field: Field) -> inspect.Parameter:
    """Return the option of a measurement."""
    hint = "" if field.required else " Omit it if it was not measured."
    option = typer.Option(help=f"{field.description} Allowed: {field.allowed_text}.{hint}")
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[float | None, option],
    )


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
