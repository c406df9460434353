"""Messages of the sink topic: a change to score, a deleted patient, or a rejected message.

Flink has validated each image already. This module checks what scoring and storing rely on. Pure
functions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from diabetes_platform.contract.change_events import MISMATCH
from diabetes_platform.contract.events import TIMESTAMP_KEYS
from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.contract.validation import (
    ABOVE_MAXIMUM,
    BELOW_MINIMUM,
    MISSING,
    NOT_AN_INTEGER,
    Reason,
)
from serving.app.validation import NOT_AN_OBJECT, NOT_JSON, Patient, field_errors

_MAX_BIGINT = 2**63 - 1
_MAX_TIMESTAMP_MS = 253_402_300_799_999
"""The last millisecond of the year 9999, Python's latest timestamp."""
_MAXIMUM = {"id": _MAX_BIGINT, "lsn": _MAX_BIGINT} | dict.fromkeys(
    TIMESTAMP_KEYS, _MAX_TIMESTAMP_MS
)

_validate_patient = Patient.__pydantic_validator__.validate_python


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
    intake_id, reasons = _read_key(key)
    if value is None:
        if reasons:
            return Rejected(metadata, key, value, tuple(reasons))
        return Deleted(intake_id)
    image, record_reasons = _read_object(value, "record")
    reasons += record_reasons
    if image is None:
        return Rejected(metadata, key, value, tuple(reasons))
    reasons += [reason for name in _MAXIMUM for reason in _integer_reasons(image, name)]
    if not reasons and image["id"] != intake_id:
        reasons.append(str(Reason("key", MISMATCH)))
    try:
        patient = _validate_patient({name: image.get(name) for name in FEATURE_NAMES})
    except ValidationError as error:
        reasons += [f"{details['field']}:{details['code']}" for details in field_errors(error)]
    if reasons:
        return Rejected(metadata, key, value, tuple(reasons))
    timestamps = {name: image[name] for name in TIMESTAMP_KEYS}
    return Change(intake_id, image["lsn"], patient, **timestamps, produced_ms=metadata.produced_ms)


def _read_key(key: bytes | None) -> tuple[int, list[str]]:
    """Return the patient's id, 0 if there are reasons against the key, and these reasons."""
    if key is None:
        return 0, [f"key:{MISSING}"]
    document, reasons = _read_object(key, "key")
    if document is None:
        return 0, reasons
    reasons = [f"key.{reason}" for reason in _integer_reasons(document, "id")]
    return (0 if reasons else document["id"]), reasons


def _read_object(content: bytes, name: str) -> tuple[dict[str, Any] | None, list[str]]:
    try:
        document = from_json(content, allow_inf_nan=False)
    except ValueError:
        return None, [f"{name}:{NOT_JSON}"]
    if not isinstance(document, dict):
        return None, [f"{name}:{NOT_AN_OBJECT}"]
    return document, []


def _integer_reasons(document: Mapping[str, Any], name: str) -> list[str]:
    value = document.get(name)
    if value is None:
        return [f"{name}:{MISSING}"]
    if type(value) is not int:
        return [f"{name}:{NOT_AN_INTEGER}"]
    if value < 0:
        return [f"{name}:{BELOW_MINIMUM}"]
    return [f"{name}:{ABOVE_MAXIMUM}"] if value > _MAXIMUM[name] else []


def reasons_json(rejected: Rejected) -> bytes:
    """Return the reasons as the header of a dead letter contains them."""
    return to_json(rejected.reasons)
