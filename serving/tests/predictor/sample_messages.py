"""Sample messages of the sink topic."""

import json

from diabetes_platform.contract.change_events import SINK_KEYS
from serving.predictor.messages import ConsumedChange, ConsumedMessage, read_message
from serving.tests.samples import PATIENT

IMAGE: dict[str, object] = {
    "id": 5,
    "received_at": "2026-11-24T12:00:00Z",
    **PATIENT,
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
    """Return the key of a message."""
    return json.dumps({"id": intake_id}).encode()


def value(**changes: object) -> bytes:
    """Return the value of a message: the sample image with `changes`."""
    return json.dumps(IMAGE | changes).encode()


def read(message_key: bytes | None, message_value: bytes | None) -> ConsumedMessage:
    """Return a message of partition 3 and offset 17, as the predictor reads it."""
    return read_message(3, 17, 1_700_000_000_400, message_key, message_value)


def change(intake_id: int = 5, lsn: int = 70, **changes: object) -> ConsumedChange:
    """Return the sample image with `changes`, as the predictor reads it."""
    message = read(key(intake_id), value(id=intake_id, lsn=lsn, **changes))
    assert isinstance(message.content, ConsumedChange), message
    return message.content
