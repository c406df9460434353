"""Reasons against a change event, and the messages of the stream."""

from typing import get_args

from diabetes_platform.contract.envelope import ENVELOPE_CODES, Part, part_reason
from diabetes_platform.contract.events import WINDOW_KEYS
from diabetes_platform.contract.fields import FEATURE_NAMES, FIELD_NAMES


def test_a_part_of_the_envelope_has_no_measurements_name() -> None:
    assert not set(get_args(Part)) & set(FIELD_NAMES)


def test_codes_are_distinct_and_read_like_the_others() -> None:
    assert len(set(ENVELOPE_CODES)) == len(ENVELOPE_CODES)
    assert part_reason("source.lsn", "missing") == "source.lsn:missing"


def test_a_window_tells_mean_and_missing_share_of_each_feature() -> None:
    keys = WINDOW_KEYS.all
    assert len(set(keys)) == len(keys)
    for name in FEATURE_NAMES:
        assert {f"{name}_mean", f"{name}_missing_share"} <= set(keys)
