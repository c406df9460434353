"""The acceptance of failed checks: by name, with a reason and a person."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from diabetes_platform.orchestration.acceptance import Acceptance

CHECK = "row_count_not_collapsed"


def test_names_the_person_and_the_reason() -> None:
    acceptance = Acceptance(accept={CHECK: "a clinic closed"}, accepted_by="ada")
    today = datetime.now(UTC).date()
    assert acceptance.reasons == {CHECK: f"ada on {today}: a clinic closed"}
    assert Acceptance().reasons == {}


@pytest.mark.parametrize(
    ("accept", "accepted_by", "message"),
    [
        ({"age_in_range": "old"}, "ada", "check age_in_range cannot be accepted; allowed: "),
        ({"no_such": "x"}, "ada", "check no_such cannot be accepted"),
        ({CHECK: " "}, "ada", f"{CHECK} has no reason"),
        ({CHECK: "a clinic closed"}, " ", "accepted_by: no name"),
    ],
)
def test_rejects_other_checks_and_missing_reasons(
    accept: dict[str, str], accepted_by: str, message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Acceptance(accept=accept, accepted_by=accepted_by)
