"""Messages of the sink topic for the tests of the predictor."""

import json

from diabetes_platform.contract.events import SINK_KEYS
from diabetes_platform.contract.fields import FEATURES
from serving.predictor.messages import Change, MessageMetadata, read_message

PLACE = MessageMetadata("sink", 3, 17, 1_700_000_000_400)
IMAGE: dict[str, object] = {
    "id": 5,
    "received_at": "2026-11-24T12:00:00Z",
    **{field.name: field.example for field in FEATURES},
    "outcome": None,
    "outcome_recorded_at": None,
    "op": "c",
    "lsn": 70,
    "changed_ms": 1_700_000_000_000,
    "captured_ms": 1_700_000_000_100,
    "judged_ms": 1_700_000_000_300,
}
assert set(IMAGE) == set(SINK_KEYS)


def key(intake_id: object = 5) -> bytes:
    return json.dumps({"id": intake_id}).encode()


def value(**changed: object) -> bytes:
    return json.dumps(IMAGE | changed).encode()


def change(intake_id: int = 5, lsn: int = 70, **changed: object) -> Change:
    read = read_message(PLACE, key(intake_id), value(id=intake_id, lsn=lsn, **changed))
    assert isinstance(read, Change), read
    return read
