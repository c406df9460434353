"""The measurements of a patient record: the only list of fields, bounds, units and codes.

The schema of every engine is rendered from `FIELDS`. To add a field, see
docs/how-to/add-a-field.md.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

_NAME_RULE = "lower case letters, digits and _"
Kind = Literal["integer", "number"]


@dataclass(frozen=True, slots=True)
class Field:
    """One measurement of a patient.

    `minimum` and `maximum` are inclusive and in `unit`. Sources write a value in `missing_codes`
    for "not measured". `required` fields must have a value. Outliers of `skewed` fields are fenced
    on a ratio scale. The mean of a plausible batch lies within `typical_mean`; `step` is the
    resolution with which a person enters the value; forms show `example`.

    Patients with diabetes have a higher mean of a field that `rises_with_outcome`.

    `original` fields belong to the first contract, so every stored record has them. A field that
    joins later has no value in earlier records, so it must be optional. Raises ValueError for a
    contradictory definition, with the field's name, the value and its range.
    """

    name: str
    alias: str
    kind: Kind
    unit: str
    label: str
    description: str
    minimum: float
    maximum: float
    typical_mean: tuple[float, float]
    example: float
    step: float = 1
    required: bool = False
    missing_codes: tuple[float, ...] = ()
    allowed: tuple[int, ...] | None = None
    skewed: bool = False
    rises_with_outcome: bool = False
    original: bool = False

    def __post_init__(self) -> None:
        self._check("name", self.name, self.name.isidentifier() and self.name.islower(), _NAME_RULE)
        self._check("minimum", self.minimum, self.minimum < self.maximum, "less than maximum")
        self._check("step", self.step, self.step > 0, "more than 0")
        low, high = self.typical_mean
        in_order = self.minimum <= low < high <= self.maximum
        self._check("typical_mean", self.typical_mean, in_order, f"rising, {self.allowed_text}")
        self._check("example", self.example, self._allows(self.example), self.allowed_text)
        for code in self.missing_codes:
            self._check("missing_codes", code, not self._allows(code), f"not {self.allowed_text}")
            self._check("missing_codes", code, not self.required, "none, because it is required")
        is_valid = self.original or not self.required
        allowed = "False, because earlier records have no value"
        self._check("required", self.required, is_valid, allowed)

    def _allows(self, value: float) -> bool:
        if self.kind == "integer" and value != int(value):
            return False
        if self.allowed is not None:
            return value in self.allowed
        return self.minimum <= value <= self.maximum

    def _check(self, attribute: str, value: object, is_valid: bool, allowed: str) -> None:
        if not is_valid:
            raise ValueError(f"field {self.name}: {attribute} is {value}; allowed: {allowed}")

    @property
    def allowed_text(self) -> str:
        """The allowed values as a person reads them, with the unit: `40 to 600 mg/dL`."""
        if self.allowed is not None:
            return " or ".join(str(value) for value in self.allowed)
        unit = "" if self.unit in {"1", "count"} else f" {self.unit}"
        prefix = "a whole number " if self.kind == "integer" else ""
        return f"{prefix}{self.minimum:g} to {self.maximum:g}{unit}"


FEATURES: tuple[Field, ...] = (
    Field(
        name="pregnancies",
        alias="Pregnancies",
        kind="integer",
        unit="count",
        label="Pregnancies",
        description="Number of times pregnant.",
        minimum=0,
        maximum=25,
        required=True,
        typical_mean=(0.5, 8),
        example=6,
        original=True,
    ),
    Field(
        name="glucose",
        alias="Glucose",
        kind="number",
        unit="mg/dL",
        label="Glucose",
        description="Plasma glucose 2 hours into an oral glucose tolerance test.",
        minimum=40,
        maximum=600,
        typical_mean=(80, 200),
        example=148,
        missing_codes=(0,),
        rises_with_outcome=True,
        original=True,
    ),
    Field(
        name="blood_pressure",
        alias="BloodPressure",
        kind="number",
        unit="mm Hg",
        label="Blood pressure",
        description="Diastolic blood pressure.",
        minimum=20,
        maximum=200,
        typical_mean=(55, 100),
        example=72,
        missing_codes=(0,),
        original=True,
    ),
    Field(
        name="skin_thickness",
        alias="SkinThickness",
        kind="number",
        unit="mm",
        label="Skin thickness",
        description="Triceps skin fold thickness.",
        minimum=1,
        maximum=99,
        typical_mean=(10, 50),
        example=35,
        missing_codes=(0,),
        original=True,
    ),
    Field(
        name="insulin",
        alias="Insulin",
        kind="number",
        unit="µU/mL",
        label="Insulin",
        description="Serum insulin 2 hours into an oral glucose tolerance test.",
        minimum=1,
        maximum=1000,
        typical_mean=(30, 350),
        example=125,
        missing_codes=(0,),
        skewed=True,
        original=True,
    ),
    Field(
        name="bmi",
        alias="BMI",
        kind="number",
        unit="kg/m²",
        label="Body mass index",
        description="Weight divided by the square of height.",
        minimum=10,
        maximum=100,
        typical_mean=(20, 45),
        step=0.1,
        example=33.6,
        missing_codes=(0,),
        original=True,
    ),
    Field(
        name="diabetes_pedigree_function",
        alias="DiabetesPedigreeFunction",
        kind="number",
        unit="1",
        label="Diabetes pedigree function",
        description="Family history of diabetes, weighted by kinship (Smith et al., 1988).",
        minimum=0,
        maximum=5,
        required=True,
        typical_mean=(0.1, 1.5),
        step=0.001,
        example=0.627,
        skewed=True,
        original=True,
    ),
    Field(
        name="age",
        alias="Age",
        kind="number",
        unit="years",
        label="Age",
        description="Age at the examination.",
        minimum=18,
        maximum=120,
        required=True,
        typical_mean=(21, 70),
        example=50,
        original=True,
    ),
)

OUTCOME = Field(
    name="outcome",
    alias="Outcome",
    kind="integer",
    unit="1",
    label="Outcome",
    description="Diabetes within five years of the examination: 1 yes, 0 no, empty not yet known.",
    minimum=0,
    maximum=1,
    typical_mean=(0.02, 0.8),
    example=1,
    allowed=(0, 1),
    original=True,
)

FIELDS: tuple[Field, ...] = (*FEATURES, OUTCOME)
FEATURE_NAMES: tuple[str, ...] = tuple(field.name for field in FEATURES)
FIELD_NAMES: tuple[str, ...] = tuple(field.name for field in FIELDS)
FIELDS_BY_NAME: dict[str, Field] = {field.name: field for field in FIELDS}
FIELDS_BY_ALIAS: dict[str, Field] = {field.alias: field for field in FIELDS}

RESULT_LABELS: tuple[str, str] = ("Normal", "Diabetes")
"""The labels of a prediction: class 0, class 1."""


def fingerprint(fields: tuple[Field, ...] = FIELDS) -> str:
    """Return the SHA-256 of names, kinds, units, bounds and codes, in order.

    It excludes labels and descriptions, so that a better wording does not make a model unusable.
    """
    meaning = [
        {
            "name": field.name,
            "kind": field.kind,
            "unit": field.unit,
            "minimum": field.minimum,
            "maximum": field.maximum,
            "required": field.required,
            "missing_codes": field.missing_codes,
            "allowed": field.allowed,
        }
        for field in fields
    ]
    canonical = json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def model_fingerprint(features: Iterable[str]) -> str | None:
    """Return the fingerprint of a contract with these features and the outcome.

    None if a feature is not in this contract. A model stays usable after a field was added, because
    its own fields are unchanged.
    """
    try:
        fields = tuple(FIELDS_BY_NAME[name] for name in features)
    except KeyError:
        return None
    return fingerprint((*fields, OUTCOME))
