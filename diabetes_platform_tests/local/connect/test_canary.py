"""The stage that a canary patient did not pass."""

import pytest

from diabetes_platform.local.connect.canary import missing_stage


@pytest.mark.parametrize(
    ("captured", "validated", "stage"),
    [
        (False, False, "change data capture does not work"),
        (True, False, "the stream job has written no image"),
        (True, True, "the predictor has stored nothing"),
        # Compaction or retention may have removed the change.
        (False, True, "the predictor has stored nothing"),
    ],
)
def test_names_the_stage_that_a_patient_did_not_pass(
    captured: bool, validated: bool, stage: str
) -> None:
    assert stage in missing_stage(captured, validated)
