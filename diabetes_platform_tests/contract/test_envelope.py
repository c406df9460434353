"""Reasons against a change event, and the messages of the stream."""

from typing import get_args

from diabetes_platform.contract.envelope import MISMATCH, Part, part_reason
from diabetes_platform.contract.events import WINDOW_KEYS
from diabetes_platform.contract.fields import FEATURE_NAMES, FIELD_NAMES
from diabetes_platform.contract.validation import Reason


def test_a_part_of_the_envelope_has_no_measurements_name() -> None:
    assert not set(get_args(Part)) & set(FIELD_NAMES)


def test_a_reason_is_written_like_a_measurements() -> None:
    assert part_reason("key", MISMATCH) == str(Reason("key", MISMATCH)) == "key:mismatch"


def test_a_window_tells_mean_and_missing_share_of_each_feature() -> None:
    keys = WINDOW_KEYS.all
    assert len(set(keys)) == len(keys)
    for name in FEATURE_NAMES:
        assert {f"{name}_mean", f"{name}_missing_share"} <= set(keys)
