"""The share of rejected rows: its level, and the text that leads a run's summary."""

import pytest

from diabetes_platform.cleaning.rejected_rows import RejectedRows


@pytest.mark.parametrize(
    ("accepted", "rejected", "level"),
    [
        (0, 0, "passed"),
        (766, 2, "passed"),
        (95, 5, "passed"),
        (94, 6, "warning"),
        (80, 20, "warning"),
        (79, 21, "error"),
        (390, 378, "error"),
        (0, 3, "error"),
        # A few rows of a small file.
        (3, 1, "warning"),
        (12, 4, "warning"),
        (12, 5, "error"),
    ],
)
def test_a_share_warns_and_then_blocks(accepted: int, rejected: int, level: str) -> None:
    rows = RejectedRows(accepted, rejected, {})
    assert rows.level(warn_above=0.05, block_above=0.2) == level


@pytest.mark.parametrize(
    ("accepted", "rejected", "duplicates", "level"),
    [(768, 768, 768, "warning"), (568, 968, 768, "warning"), (400, 1136, 768, "error")],
)
def test_duplicates_lose_nothing_and_never_block(
    accepted: int, rejected: int, duplicates: int, level: str
) -> None:
    rows = RejectedRows(accepted, rejected, {"record:duplicate": duplicates}, duplicates)
    assert rows.level(warn_above=0.05, block_above=0.2) == level
    assert f"record:duplicate {duplicates}" in str(rows)


def test_no_share_blocks_if_all_are_allowed() -> None:
    assert RejectedRows(0, 3, {}).level(warn_above=1.0, block_above=1.0) == "passed"


def test_names_rows_and_the_most_frequent_reasons() -> None:
    reasons = {"insulin:not_a_number": 374, "bmi:outlier": 3, "age:missing": 1}
    assert str(RejectedRows(390, 378, reasons)) == (
        "768 rows: 390 accepted, 378 rejected: "
        "insulin:not_a_number 374, bmi:outlier 3, age:missing 1"
    )
    many = {f"field{n}:missing": 9 - n for n in range(8)}
    assert str(RejectedRows(0, 9, many)).endswith("field4:missing 5, 3 other reasons")
    assert str(RejectedRows(0, 9, dict(list(many.items())[:6]))).endswith(", 1 other reason")
    assert str(RejectedRows(5, 0, {})) == "5 rows: 5 accepted, 0 rejected"
