"""Conservation: raw + labelled = accepted + rejected, and in words what is missing."""

import pytest

from diabetes_platform.cleaning.reconciliation import Conservation


@pytest.mark.parametrize(
    ("counts", "holds", "text"),
    [
        (Conservation(768, 700, 68), True, "raw 768 = accepted 700 + rejected 68"),
        (Conservation(0, 0, 0), True, "raw 0 = accepted 0 + rejected 0"),
        (Conservation(10, 7, 2), False, "not raw 10 = accepted 7 + rejected 2: 1 missing"),
        (Conservation(10, 9, 3, 2), True, "raw 10 + labelled 2 = accepted 9 + rejected 3"),
        (
            Conservation(10, 9, 2, 2),
            False,
            "not raw 10 + labelled 2 = accepted 9 + rejected 2: 1 missing",
        ),
        (Conservation(10, 7, 5), False, "not raw 10 = accepted 7 + rejected 5: 2 too many"),
    ],
)
def test_conservation(counts: Conservation, holds: bool, text: str) -> None:
    assert counts.holds is holds
    assert str(counts) == text
