"""The rejection reasons of a change event and the keys of the stream's messages."""

from typing import get_args

from diabetes_platform.contract.change_events import EventField
from diabetes_platform.contract.events import WINDOW_KEYS
from diabetes_platform.contract.fields import FEATURE_NAMES, FIELD_NAMES


def test_no_envelope_field_shares_its_name_with_a_measurement() -> None:
    assert not set(get_args(EventField)) & set(FIELD_NAMES)


def test_a_window_has_a_mean_and_a_missing_share_for_every_feature() -> None:
    keys = WINDOW_KEYS.all
    assert len(set(keys)) == len(keys)
    for name in FEATURE_NAMES:
        assert {f"{name}_mean", f"{name}_missing_share"} <= set(keys)
