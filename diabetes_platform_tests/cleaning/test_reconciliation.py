"""RowReconciliation: raw + labelled = accepted + rejected, and in words what is missing."""

import pytest

from diabetes_platform.cleaning.reconciliation import RowReconciliation


@pytest.mark.parametrize(
    ("counts", "balanced", "text"),
    [
        (RowReconciliation(768, 700, 68), True, "raw 768 = accepted 700 + rejected 68"),
        (RowReconciliation(0, 0, 0), True, "raw 0 = accepted 0 + rejected 0"),
        (RowReconciliation(10, 7, 2), False, "not raw 10 = accepted 7 + rejected 2: 1 missing"),
        (RowReconciliation(10, 9, 3, 2), True, "raw 10 + labelled 2 = accepted 9 + rejected 3"),
        (
            RowReconciliation(10, 9, 2, 2),
            False,
            "not raw 10 + labelled 2 = accepted 9 + rejected 2: 1 missing",
        ),
        (RowReconciliation(10, 7, 5), False, "not raw 10 = accepted 7 + rejected 5: 2 too many"),
    ],
)
def test_row_reconciliation(counts: RowReconciliation, balanced: bool, text: str) -> None:
    assert counts.balanced is balanced
    assert str(counts) == text
