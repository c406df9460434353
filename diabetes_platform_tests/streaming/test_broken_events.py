"""Generated change events are complete; each kind of broken event has a fault of its own."""

import json
from typing import Any

from diabetes_platform.contract.change_events import IMAGE_KEYS
from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.streaming.broken_events import KINDS, broken_event, change_event

PATIENT = {field.name: field.example for field in FEATURES}


def event() -> dict[str, Any]:
    return change_event(5, PATIENT, lsn=7, now_ms=1000)


def test_a_change_event_has_every_key_of_the_contract() -> None:
    complete = event()
    assert set(complete) >= {"before", "after", "source", "op", "ts_ms"}
    assert set(complete["source"]) >= {"lsn", "ts_ms", "table", "snapshot"}
    assert tuple(complete["after"]) == IMAGE_KEYS


def test_every_kind_has_a_different_fault_and_none_is_valid() -> None:
    valid = (json.dumps({"id": 5}).encode(), json.dumps(event()).encode())
    broken = [broken_event(kind, event()) for kind in range(KINDS)]
    assert len(set(broken)) == KINDS
    assert valid not in broken
    assert broken_event(KINDS, event()) == broken[0]
