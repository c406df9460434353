"""The fields: consistent definitions, what a person reads of them, and their fingerprint."""

import subprocess
import sys
from dataclasses import replace

import pytest

from diabetes_platform.contract.fields import (
    FEATURE_NAMES,
    FIELDS,
    FIELDS_BY_ALIAS,
    FIELDS_BY_NAME,
    OUTCOME,
    Field,
    fingerprint,
    model_fingerprint,
)
from diabetes_platform.settings import PROJECT_ROOT

LATER = Field(
    name="later",
    alias="Later",
    kind="number",
    unit="%",
    label="Later",
    description="A field that joins a running platform.",
    minimum=3,
    maximum=20,
    required=False,
    typical_mean=(4, 12),
    step=0.1,
    example=5.7,
)
FIRST, *REST = FIELDS


def test_names_and_aliases_are_unique() -> None:
    assert len(FIELDS_BY_NAME) == len(FIELDS_BY_ALIAS) == len(FIELDS)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_field_is_described(field: Field) -> None:
    assert field.label
    assert field.description
    assert field.unit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"example": 21}, "field later: example is 21; allowed: 3 to 20 %"),
        ({"example": 2.9}, "field later: example is 2.9; allowed: 3 to 20 %"),
        ({"kind": "integer"}, "field later: example is 5.7; allowed: a whole number 3 to 20 %"),
        ({"allowed": (4, 5)}, "field later: example is 5.7; allowed: 4 or 5"),
        ({"minimum": 30}, "field later: minimum is 30; allowed: less than maximum"),
        ({"typical_mean": (4, 30)}, "typical_mean is (4, 30); allowed: rising, 3 to 20 %"),
        ({"typical_mean": (9, 4)}, "typical_mean is (9, 4); allowed: rising, 3 to 20 %"),
        ({"step": 0}, "field later: step is 0; allowed: more than 0"),
        ({"missing_codes": (7,)}, "field later: missing_codes is 7; allowed: not 3 to 20 %"),
        ({"name": "Later"}, "name is Later; allowed: lower case letters, digits and _"),
        (
            {"required": True},
            "field later: required is True; allowed: False, because earlier records have no value",
        ),
        (
            {"required": True, "original": True, "missing_codes": (0,)},
            "field later: missing_codes is 0; allowed: none, because it is required",
        ),
    ],
)
def test_rejects_a_definition_that_contradicts_itself(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match="allowed") as error:
        replace(LATER, **change)  # type: ignore[arg-type]
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (FIELDS_BY_NAME["glucose"], "40 to 600 mg/dL"),
        (FIELDS_BY_NAME["pregnancies"], "a whole number 0 to 25"),
        (FIELDS_BY_NAME["diabetes_pedigree_function"], "0 to 5"),
        (OUTCOME, "0 or 1"),
    ],
)
def test_allowed_values_have_their_unit(field: Field, text: str) -> None:
    assert field.allowed_text == text


def test_the_contract_needs_nothing_but_the_standard_library() -> None:
    """Without site-packages, as serving/ and flink/ may import it."""
    modules = [
        path.stem for path in (PROJECT_ROOT / "diabetes_platform/contract").glob("[a-z]*.py")
    ]
    imports = "; ".join(f"import diabetes_platform.contract.{module}" for module in modules)
    command = [sys.executable, "-S", "-c", imports]
    subprocess.run(command, cwd=PROJECT_ROOT, check=True)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "births"},
        {"unit": "dozen"},
        {"kind": "number"},
        {"minimum": -1},
        {"maximum": 26},
        {"required": False},
        {"required": False, "missing_codes": (99,)},
    ],
    ids=str,
)
def test_another_meaning_is_another_fingerprint(change: dict[str, object]) -> None:
    assert fingerprint((replace(FIRST, **change), *REST)) != fingerprint()  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"label": "Births"}, {"description": "x"}, {"example": 1}])
def test_another_wording_is_the_same_fingerprint(change: dict[str, object]) -> None:
    assert fingerprint((replace(FIRST, **change), *REST)) == fingerprint()  # type: ignore[arg-type]


def test_released_models_keep_their_fingerprint() -> None:
    released = "57774e84be6d5b388ca0a9c211daa782f23fba988ab851610a352c4ca7254cc6"
    assert fingerprint((FIRST,)) == released


def test_another_order_of_the_fields_is_another_fingerprint() -> None:
    assert fingerprint((*REST, FIRST)) != fingerprint()


def test_a_models_fingerprint_is_that_of_its_own_fields() -> None:
    assert model_fingerprint(FEATURE_NAMES) == fingerprint()
    assert model_fingerprint(FEATURE_NAMES[1:]) == fingerprint(FIELDS[1:])
    assert model_fingerprint([*FEATURE_NAMES, "removed"]) is None
