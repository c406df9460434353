"""The fingerprint changes with the meaning of a field, and with nothing else."""

from dataclasses import replace

import pytest

from diabetes_platform.contract.fields import FIELDS, fingerprint

FIRST, *REST = FIELDS


@pytest.mark.parametrize(
    "change",
    [
        {"name": "births"},
        {"unit": "dozen"},
        {"kind": "number"},
        {"minimum": 1},
        {"maximum": 26},
        {"required": False},
        {"missing_codes": (99,)},
    ],
    ids=str,
)
def test_another_meaning_is_another_fingerprint(change: dict[str, object]) -> None:
    assert fingerprint((replace(FIRST, **change), *REST)) != fingerprint()


@pytest.mark.parametrize("change", [{"label": "Births"}, {"description": "x"}, {"example": 1}])
def test_a_better_wording_is_not(change: dict[str, object]) -> None:
    assert fingerprint((replace(FIRST, **change), *REST)) == fingerprint()


def test_the_order_of_the_fields_is_part_of_it() -> None:
    assert fingerprint((*REST, FIRST)) != fingerprint()
