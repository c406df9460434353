"""What the API reads and writes, rendered from the contract. Pydantic only: no server here.

A patient is a JSON object of numbers. A number written as text (`"148"`) is refused as
`not_a_number`: JSON has numbers, and guessing hides a caller's mistake. In all else the verdict on
a value is the contract's own.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Strict,
    WithJsonSchema,
    create_model,
)
from pydantic import Field as Described
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from diabetes_platform.contract.fields import FEATURES, RESULT_LABELS, Field
from diabetes_platform.contract.validation import parse, reason_for

MAX_BATCH = 1000
"""The most patients in one call of `/predict/batch`."""


def _judge(field: Field) -> Callable[[float | None], float | None]:
    """Return the contract's check of one value: None for missing, an error with its code."""
    minimum, maximum, codes = field.minimum, field.maximum, frozenset(field.missing_codes)
    whole = field.kind == "integer"

    def judge(value: float | None) -> float | None:
        # The usual case, decided without building a verdict: this runs for each value received.
        if (
            value is not None
            and minimum <= value <= maximum
            and value not in codes
            and not (whole and value % 1)
        ):
            return value
        reason = reason_for(field, value)
        if reason is None:
            return parse(field, value).value
        raise PydanticCustomError(reason.code, "not allowed")

    return judge


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
        AfterValidator(_judge(field)),
        WithJsonSchema(_json_schema(field)),
        Described(
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
        # The text of an error may reach a log; a measurement must not.
        hide_input_in_errors=True,
        json_schema_extra={"examples": [EXAMPLE_PATIENT]},
    ),
    __doc__="The measurements of one patient.",
    **_DEFINITIONS,
)

Probability = Annotated[float, Described(ge=0, le=1)]


class Contributions(TypedDict):
    """What moved this prediction, in log-odds: `bias` plus all `features` is its log-odds."""

    bias: float
    features: dict[str, float]


class Prediction(TypedDict):
    """The answer for one patient; `result` is "Diabetes" from the threshold upwards."""

    result: Annotated[
        str, WithJsonSchema({"type": "string", "enum": list(RESULT_LABELS), "title": "Result"})
    ]
    probability: Annotated[Probability, Described(description="Risk of diabetes within 5 years.")]
    threshold: Probability
    model_version: str
    contributions: NotRequired[Contributions]


class FieldError(TypedDict):
    """One reason to refuse: which field, a stable code, what was given and what is allowed."""

    field: str
    code: str
    given: Any
    allowed: str


class Problem(TypedDict):
    """A refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError]


class Refusal(TypedDict):
    """What a batch answers for a patient that it cannot judge."""

    errors: list[FieldError]


class BatchAnswer(TypedDict):
    """One entry per patient, in the order received: a prediction or the reasons against it."""

    predicted: int
    refused: int
    results: list[Prediction | Refusal]


class ModelFeature(TypedDict):
    """One measurement that the model uses."""

    name: str
    label: str
    unit: str
    allowed: str
    required: bool


class ModelCard(TypedDict):
    """The model in use, as its bundle describes it."""

    model_version: str
    result_labels: list[str]
    threshold: Probability
    features: list[ModelFeature]
    calibration: dict[str, float]
    metrics: dict[str, dict[str, float]]
    training: dict[str, Any]
    libraries: dict[str, str]
    files: dict[str, str]
    contract_fingerprint: str


class Health(TypedDict):
    """The process answers."""

    status: Literal["alive"]


class Ready(TypedDict):
    """A model is loaded; `problem` says why a newer one is not, null when all is well."""

    status: Literal["ready"]
    model_version: str
    problem: str | None
