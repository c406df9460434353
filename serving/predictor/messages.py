"""The messages of the sink topic, as changes to score, deletions and rejections. Pure functions.

The validation itself is the contract's (`change_events.py`).
"""

from dataclasses import dataclass

from pydantic import BaseModel
from pydantic_core import to_json

from diabetes_platform.contract.change_events import Deletion, Invalid, validate_sink_message
from diabetes_platform.contract.fields import FEATURE_NAMES
from serving.app.validation import Patient


@dataclass(frozen=True, slots=True)
class MessageMetadata:
    """The position of a message in Kafka, and its timestamp in milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    produced_ms: int


@dataclass(frozen=True, slots=True)
class Change:
    """A patient's image to score, with timestamps in milliseconds since 1970."""

    intake_id: int
    source_lsn: int
    patient: BaseModel
    changed_ms: int
    captured_ms: int
    judged_ms: int
    produced_ms: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """A patient that was deleted."""

    intake_id: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """An invalid message: all reasons, each written `field:code`, and the original bytes."""

    metadata: MessageMetadata
    key: bytes | None
    value: bytes | None
    reasons: tuple[str, ...]


def read_message(
    metadata: MessageMetadata, key: bytes | None, value: bytes | None
) -> Change | Deleted | Rejected:
    """Decode and validate one message. Never raises, whatever the bytes are."""
    message = validate_sink_message(key, value)
    if isinstance(message, Invalid):
        return Rejected(metadata, key, value, tuple(map(str, message.reasons)))
    if isinstance(message, Deletion):
        return Deleted(message.id)
    return Change(
        intake_id=message.id,
        source_lsn=message.lsn,
        # The contract has validated the measurements.
        patient=Patient.model_construct(
            None, **{name: message.image[name] for name in FEATURE_NAMES}
        ),
        changed_ms=message.changed_ms,
        captured_ms=message.captured_ms,
        judged_ms=message.judged_ms,
        produced_ms=metadata.produced_ms,
    )


def reasons_json(rejected: Rejected) -> bytes:
    """Return the reasons as the header of a dead letter contains them."""
    return to_json(rejected.reasons)
