"""Whole events are Debezium's; each kind of broken one is broken in its own way."""

import json

from diabetes_platform.contract.events import DIABETES_NEW_CHANGED
from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.streaming.broken_events import KINDS, broken_event, change_event

PATIENT = {field.name: field.example for field in FEATURES}


def event() -> dict[str, object]:
    return change_event(5, PATIENT, lsn=7, now_ms=1000)


def test_a_whole_event_has_what_the_contract_demands() -> None:
    made = event()
    assert set(made) >= set(DIABETES_NEW_CHANGED.envelope_keys)
    assert set(made["source"]) >= set(DIABETES_NEW_CHANGED.source_keys)
    assert tuple(made["after"]) == DIABETES_NEW_CHANGED.image_keys


def test_each_kind_is_another_fault_and_none_is_the_whole_event() -> None:
    whole = (json.dumps({"id": 5}).encode(), json.dumps(event()).encode())
    broken = [broken_event(kind, event()) for kind in range(KINDS)]
    assert len(set(broken)) == KINDS
    assert whole not in broken
    assert broken_event(KINDS, event()) == broken[0]
