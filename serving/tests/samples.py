"""Sample patients and contributions, rendered from the contract.

Tests take whole patients from here, so that a new optional field does not break them.
"""

from typing import Any

from diabetes_platform.contract.fields import FEATURE_NAMES, FEATURES

PATIENT: dict[str, Any] = {field.name: field.example for field in FEATURES}
"""The contract's example patient."""
ALIASED_PATIENT: dict[str, Any] = {field.alias: field.example for field in FEATURES}
"""The same patient with the data set's column names."""
REQUIRED_ONLY: dict[str, Any] = {
    field.name: field.example if field.required else None for field in FEATURES
}
"""The same patient, of whom only the required fields were measured."""
PATIENT_FORM: dict[str, str] = {name: f"{value:g}" for name, value in PATIENT.items()}
"""The same patient as a browser's form sends it."""
PATIENT_ROW: list[float | None] = [float(value) for value in PATIENT.values()]
"""The same patient as the row of a model of all features."""

REQUIRED_NAMES = [field.name for field in FEATURES if field.required]

CONTRIBUTIONS: dict[str, Any] = {
    "bias": -0.8,
    "features": dict.fromkeys(FEATURE_NAMES, 0.1)
    | {"glucose": 1.2, "insulin": -0.4, "bmi": 0.6, "skin_thickness": 0.0},
}
"""Contributions whose three largest are of glucose, body mass index and insulin."""


def patient(**changes: object) -> dict[str, Any]:
    """Return the example patient with `changes`."""
    return PATIENT | changes
