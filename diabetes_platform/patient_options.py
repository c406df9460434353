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
    """Return the object in the file at `path`, - for standard input; `option` is who gave it.

    Raises typer.BadParameter for what cannot be read, is no JSON, or no object.
    """
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        found = json.loads(text, parse_constant=_refuse_constant)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{option}: {error}") from error
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{option}: given {type(found).__name__}, allowed an object")
    return found


def why_refused(patient: Mapping[str, float]) -> str:
    """Return all reasons against `patient`, a line each; nothing where it is accepted.

    JSON cannot carry NaN and infinities: the contract judges before anything is sent.
    """
    reasons = reasons_to_reject(patient, FEATURES)
    return "\n".join(reason.explain(patient.get(reason.field)) for reason in reasons)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _option(field: Field) -> inspect.Parameter:
    """Render a measurement as an option."""
    needed = "" if field.required else " Leave out what was not measured."
    option = typer.Option(help=f"{field.description} Allowed: {field.allowed_text}.{needed}")
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[float | None, option],
    )


def takes_patient(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command`, which takes any keywords, the options of a patient."""
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
    command.__annotations__ = {name: each.annotation for name, each in options.parameters.items()}
    return command
