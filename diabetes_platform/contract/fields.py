"""The measurements of a patient record: the only list of fields, bounds, units and codes.

Every engine renders its own schema from `FIELDS`; none keeps a second list.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

Kind = Literal["integer", "number"]


@dataclass(frozen=True, slots=True)
class Field:
    """One measurement of a patient.

    `minimum` and `maximum` are inclusive and in `unit`. A value in `missing_codes` was written
    by the source to say "not measured". `required` fields must carry a value. `skewed` fields are
    judged for outliers on a ratio scale. `typical_mean` is where the mean of a plausible batch
    lies; `step` is the resolution a person enters the value with.
    """

    name: str
    alias: str
    kind: Kind
    unit: str
    label: str
    description: str
    minimum: float
    maximum: float
    required: bool
    typical_mean: tuple[float, float]
    step: float
    example: float
    missing_codes: tuple[float, ...] = ()
    allowed: tuple[int, ...] | None = None
    skewed: bool = False

    @property
    def allowed_text(self) -> str:
        """The allowed values as a person reads them, with the unit: `40 to 600 mg/dL`."""
        if self.allowed is not None:
            return " or ".join(str(value) for value in self.allowed)
        unit = "" if self.unit in {"1", "count"} else f" {self.unit}"
        whole = "a whole number " if self.kind == "integer" else ""
        return f"{whole}{self.minimum:g} to {self.maximum:g}{unit}"


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
        step=1,
        example=6,
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
        required=False,
        typical_mean=(80, 200),
        step=1,
        example=148,
        missing_codes=(0,),
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
        required=False,
        typical_mean=(55, 100),
        step=1,
        example=72,
        missing_codes=(0,),
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
        required=False,
        typical_mean=(10, 50),
        step=1,
        example=35,
        missing_codes=(0,),
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
        required=False,
        typical_mean=(30, 350),
        step=1,
        example=125,
        missing_codes=(0,),
        skewed=True,
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
        required=False,
        typical_mean=(20, 45),
        step=0.1,
        example=33.6,
        missing_codes=(0,),
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
        step=1,
        example=50,
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
    required=False,
    typical_mean=(0.02, 0.8),
    step=1,
    example=1,
    allowed=(0, 1),
)

FIELDS: tuple[Field, ...] = (*FEATURES, OUTCOME)
FEATURE_NAMES: tuple[str, ...] = tuple(field.name for field in FEATURES)
FIELD_NAMES: tuple[str, ...] = tuple(field.name for field in FIELDS)
FIELDS_BY_NAME: dict[str, Field] = {field.name: field for field in FIELDS}
FIELDS_BY_ALIAS: dict[str, Field] = {field.alias: field for field in FIELDS}

RESULT_LABELS: tuple[str, str] = ("Normal", "Diabetes")
"""What a prediction of class 0 and of class 1 is called in every answer."""


def fingerprint(fields: tuple[Field, ...] = FIELDS) -> str:
    """Return the SHA-256 of names, kinds, units, bounds and codes, in order.

    A model stores it, and is only used where it matches. Labels and descriptions are not part of
    it: a better wording does not retire a model.
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
