"""The header of a source: mapped to the contract's names, or refused without a patient's value."""

import pytest

from diabetes_platform.contract.fields import FIELDS
from diabetes_platform.lake.source_files import SourceError, column_order
from diabetes_platform_tests.samples import ORIGINAL_NAMES, WEIGHT

NAMES = list(ORIGINAL_NAMES)


def test_maps_aliases_in_any_order_to_field_names() -> None:
    assert column_order([field.alias for field in reversed(FIELDS)], "p.csv") == [
        field.name for field in reversed(FIELDS)
    ]


def test_a_column_of_a_later_field_may_be_absent() -> None:
    assert column_order(NAMES, "p.csv", [*FIELDS, WEIGHT]) == NAMES
    assert column_order(["Weight", *NAMES], "p.csv", [*FIELDS, WEIGHT]) == ["weight", *NAMES]


def test_the_outcome_may_be_absent() -> None:
    assert column_order(NAMES[:8], "p.csv") == NAMES[:8]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (["a", *NAMES], "column 1: 'a'; allowed: one of pregnancies"),
        (["", *NAMES], "column 1: ''; allowed: one of pregnancies"),
        (["x" * 100], f"column 1: '{'x' * 40}'; allowed: one of"),
        ([*NAMES[:7], "bmi"], "column 8: 'bmi' a second time; allowed: once"),
        ([*NAMES[:7], "Outcome", "outcome"], "column 9: 'outcome' a second time"),
        (NAMES[:7], "column 8: 7 columns without age; allowed: pregnancies"),
    ],
)
def test_rejects_another_header(header: list[str], message: str) -> None:
    with pytest.raises(SourceError, match=r"^p\.csv: line 1, ") as refused:
        column_order(header, "p.csv")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("14,148,72", "column 1: a number, so the file seems to have no header"),
        ("Smith,148,72", "column 2: a number, so the file seems to have no header"),
        (",-.5e1", "column 2: a number, so the file seems to have no header"),
        ("14;148;72", "column 1: text that is no name; allowed: one of"),
        ("14\t148\t72", "column 1: text that is no name; allowed: one of"),
        ("Smith 1948-01-14", "column 1: text that is no name; allowed: one of"),
    ],
)
def test_does_not_repeat_a_row_in_place_of_the_header(row: str, message: str) -> None:
    with pytest.raises(SourceError) as refused:
        column_order(row.split(","), "p.csv")
    assert message in str(refused.value)
    assert not any(value in str(refused.value) for value in ("14", "48", "72", ".5", "Smith"))
