"""The list of fields: complete, consistent, and what a person reads of it."""

import subprocess
import sys

import pytest

from diabetes_platform.contract.fields import (
    FEATURES,
    FIELDS,
    FIELDS_BY_ALIAS,
    FIELDS_BY_NAME,
    OUTCOME,
    Field,
)
from diabetes_platform.settings import PROJECT_ROOT


def test_names_and_flat_names_are_unique() -> None:
    assert len(FIELDS_BY_NAME) == len(FIELDS_BY_ALIAS) == len(FIELDS) == 9


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_each_field_is_described_and_its_numbers_agree(field: Field) -> None:
    assert field.label
    assert field.description
    assert field.unit
    assert field.minimum < field.maximum
    assert field.minimum <= field.typical_mean[0] < field.typical_mean[1] <= field.maximum
    assert field.minimum <= field.example <= field.maximum
    assert field.step > 0


@pytest.mark.parametrize("field", FEATURES, ids=lambda field: field.name)
def test_a_code_for_missing_is_never_an_allowed_value(field: Field) -> None:
    assert not any(field.minimum <= code <= field.maximum for code in field.missing_codes)
    assert not (field.missing_codes and field.required)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (FIELDS_BY_NAME["glucose"], "40 to 600 mg/dL"),
        (FIELDS_BY_NAME["pregnancies"], "a whole number 0 to 25"),
        (FIELDS_BY_NAME["diabetes_pedigree_function"], "0 to 5"),
        (OUTCOME, "0 or 1"),
    ],
)
def test_allowed_values_are_told_with_their_unit(field: Field, text: str) -> None:
    assert field.allowed_text == text


def test_the_contract_needs_nothing_but_the_standard_library() -> None:
    """Without site-packages, as serving/ and flink/ may import it."""
    modules = [
        path.stem for path in (PROJECT_ROOT / "diabetes_platform/contract").glob("[a-z]*.py")
    ]
    imports = "; ".join(f"import diabetes_platform.contract.{module}" for module in modules)
    command = [sys.executable, "-S", "-c", imports]
    subprocess.run(command, cwd=PROJECT_ROOT, check=True)
