"""Named sample patients and fields, made from the contract.

Tests take patients from here, so that a new optional field in `contract/fields.py` changes no test.
"""

import csv

from diabetes_platform.contract.fields import FEATURES, FIELDS, Field
from diabetes_platform.settings import PIMA_CSV

ORIGINAL_NAMES = tuple(field.name for field in FIELDS if field.original)
"""The columns of every file and table, however old."""

PATIENT: dict[str, str | None] = {
    field.name: format(field.example, "g") if field.original else None for field in FIELDS
}
"""A valid patient as received: the examples of the original fields; later fields are missing."""

EXAMPLE = {field.name: field.example for field in FEATURES}
"""Valid measurements as numbers."""

CSV_HEADER = ",".join(ORIGINAL_NAMES)
CSV_ROW = ",".join(value for value in PATIENT.values() if value is not None)
"""A source file with the original columns, as all files were written before a later field."""

WEIGHT = Field(
    name="weight",
    alias="Weight",
    kind="number",
    unit="kg",
    label="Weight",
    description="Body weight.",
    minimum=20,
    maximum=400,
    required=False,
    typical_mean=(50, 110),
    step=0.1,
    example=70.5,
)
"""An optional field that joins the contract later; pass `[*FIELDS, WEIGHT]`."""


def pima_rows() -> list[dict[str, str | None]]:
    """The 768 patients of the Pima file as received; a field that the file lacks is None."""
    with PIMA_CSV.open(encoding="utf-8", newline="") as file:
        return [
            {field.name: row.get(field.name) for field in FIELDS} for row in csv.DictReader(file)
        ]
