"""A message of the sink topic read: a change to score, a patient deleted, or why neither.

Flink has judged each image already; here a message is believed only as far as it can be scored and
stored. Pure functions.
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
from serving.app.models import Patient
from serving.app.verdicts import NOT_AN_OBJECT, NOT_JSON, field_errors

_LARGEST_BIGINT = 2**63 - 1
_LARGEST_STAMP = 253_402_300_799_999
"""The last millisecond of the year 9999, the last that a timestamp of Python can hold."""
_BOUNDS = {"id": _LARGEST_BIGINT, "lsn": _LARGEST_BIGINT} | dict.fromkeys(
    TIMESTAMP_KEYS, _LARGEST_STAMP
)

_judge_patient = Patient.__pydantic_validator__.validate_python


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message lies, and when it was put there (milliseconds since 1970)."""

    topic: str
    partition: int
    offset: int
    produced_ms: int


@dataclass(frozen=True, slots=True)
class Change:
    """A patient's image to score; stamps in milliseconds since 1970."""

    intake_id: int
    source_lsn: int
    patient: BaseModel
    changed_ms: int
    captured_ms: int
    judged_ms: int
    produced_ms: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """A patient that is no longer there."""

    intake_id: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """All reasons why a message is neither, each written `field:code`; and the original bytes."""

    place: Place
    key: bytes | None
    value: bytes | None
    reasons: tuple[str, ...]


def read_message(
    place: Place, key: bytes | None, value: bytes | None
) -> Change | Deleted | Rejected:
    """Read one message; it never raises, whatever the bytes are."""
    intake_id, reasons = _read_key(key)
    if value is None:
        if reasons:
            return Rejected(place, key, value, tuple(reasons))
        return Deleted(intake_id)
    image, faults = _read_object(value, "record")
    reasons += faults
    if image is None:
        return Rejected(place, key, value, tuple(reasons))
    reasons += [reason for name in _BOUNDS for reason in _whole_number(image, name)]
    if not reasons and image["id"] != intake_id:
        reasons.append(str(Reason("key", MISMATCH)))
    try:
        patient = _judge_patient({name: image.get(name) for name in FEATURE_NAMES})
    except ValidationError as error:
        reasons += [f"{one['field']}:{one['code']}" for one in field_errors(error)]
    if reasons:
        return Rejected(place, key, value, tuple(reasons))
    stamps = {name: image[name] for name in TIMESTAMP_KEYS}
    return Change(intake_id, image["lsn"], patient, **stamps, produced_ms=place.produced_ms)


def _read_key(key: bytes | None) -> tuple[int, list[str]]:
    if key is None:
        return 0, [f"key:{MISSING}"]
    document, reasons = _read_object(key, "key")
    if document is None:
        return 0, reasons
    reasons = [f"key.{reason}" for reason in _whole_number(document, "id")]
    return (0 if reasons else document["id"]), reasons


def _read_object(content: bytes, name: str) -> tuple[dict[str, Any] | None, list[str]]:
    try:
        document = from_json(content, allow_inf_nan=False)
    except ValueError:
        return None, [f"{name}:{NOT_JSON}"]
    if not isinstance(document, dict):
        return None, [f"{name}:{NOT_AN_OBJECT}"]
    return document, []


def _whole_number(document: Mapping[str, Any], name: str) -> list[str]:
    value = document.get(name)
    if value is None:
        return [f"{name}:{MISSING}"]
    if type(value) is not int:
        return [f"{name}:{NOT_AN_INTEGER}"]
    if value < 0:
        return [f"{name}:{BELOW_MINIMUM}"]
    return [f"{name}:{ABOVE_MAXIMUM}"] if value > _BOUNDS[name] else []


def reasons_json(rejected: Rejected) -> bytes:
    """Return the reasons as a dead letter's header carries them."""
    return to_json(rejected.reasons)
