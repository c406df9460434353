"""What is said of one message: accepted, ignored, or rejected with all reasons. A pure function.

Nothing that a message may hold makes it raise: whatever is not understood is a reason.
"""

import orjson

from diabetes_platform.contract.change_events import (
    CLOCK_SKEW_MS,
    IN_THE_FUTURE,
    MISMATCH,
    NOT_A_TIME,
    NOT_AN_OBJECT,
    NOT_TEXT,
    EventField,
)
from diabetes_platform.contract.events import (
    DELETED,
    DIABETES_NEW_CHANGED,
    HEARTBEAT_TOPIC,
    TIMESTAMP_KEYS,
)
from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.contract.tables import DIABETES_NEW
from diabetes_platform.contract.validation import (
    BELOW_MINIMUM,
    MISSING,
    NOT_ALLOWED,
    NOT_AN_INTEGER,
    Reason,
)
from flink.patients.documents import Document, read_object
from flink.patients.measurements import read_measurements
from flink.patients.ordinary import LARGEST, ordinary
from flink.patients.times import is_time
from flink.patients.verdicts import Accepted, Ignored, Received, Rejected, Verdict

_SCHEMA, _TABLE = DIABETES_NEW.name.split(".")
_OPERATIONS = frozenset(DIABETES_NEW_CHANGED.operations)
_TIMES: tuple[EventField, ...] = ("received_at", "outcome_recorded_at")
_NO_OBJECT = str(Reason("message", NOT_AN_OBJECT))
_IMAGE_KEYS = DIABETES_NEW_CHANGED.image_keys


def judge(received: Received, now_ms: int) -> Verdict:
    """Return what `received` is; `now_ms` is the judge's clock, milliseconds since 1970 (UTC)."""
    found = None if received.topic == HEARTBEAT_TOPIC else ordinary(received, now_ms)
    return examined(received, now_ms) if found is None else found


def examined(received: Received, now_ms: int) -> Verdict:
    """Return what `received` is, looking at each part of it."""
    if received.topic == HEARTBEAT_TOPIC:
        return Ignored(_heartbeat_ms(received.value, now_ms))
    if received.value is None:
        return Ignored()  # the tombstone after a deletion, which says nothing new
    document, reasons = read_object("message", received.value)
    if not document and reasons:
        return _no_change(received.key, *reasons)
    envelope = document.get("payload") if _has_schema(document) else document
    if isinstance(envelope, dict):
        if _is_about_a_transaction(envelope):
            return Ignored()
        return _judge_change(envelope, received.key, list(reasons), now_ms)
    # With a schema, the tombstone after a deletion is a payload of null.
    return Ignored() if envelope is None else _no_change(received.key, _NO_OBJECT)


def _no_change(key: bytes | None, *reasons: str) -> Rejected:
    return Rejected((*reasons, *_key(key)[1]))


def _judge_change(
    envelope: Document, key: bytes | None, reasons: list[str], now_ms: int
) -> Accepted | Rejected:
    key_id, about_key = _key(key)
    reasons.extend(about_key)
    op = envelope.get("op")
    if op is None:
        reasons.append(str(Reason("op", MISSING)))
    elif not isinstance(op, str) or op not in _OPERATIONS:
        reasons.append(str(Reason("op", NOT_ALLOWED)))
    lsn, changed_ms = _source(envelope.get("source"), reasons, now_ms)
    captured_ms = _time("ts_ms", envelope.get("ts_ms"), reasons, now_ms)
    side: EventField = "before" if op == DELETED else "after"
    image = _object(side, envelope.get(side), reasons)
    row_id = None if image is None else _integer("id", image.get("id"), reasons)
    if None not in (row_id, key_id) and row_id != key_id:
        reasons.append(str(Reason("key", MISMATCH)))
    # A deletion carries the key alone: the other columns hold what Debezium puts where nothing is.
    whole = op != DELETED and image is not None
    values, features = _read_image(image or {}, reasons) if whole else ({}, ())
    if reasons or row_id is None or lsn is None or changed_ms is None:
        return Rejected(tuple(reasons))
    if op == DELETED:
        return Accepted(row_id, lsn, changed_ms, None, ())
    stamps = dict(zip(TIMESTAMP_KEYS, (changed_ms, captured_ms, now_ms), strict=True))
    written = orjson.dumps({**values, "op": op, "lsn": lsn, **stamps})
    return Accepted(row_id, lsn, changed_ms, written, features)


def _read_image(image: Document, reasons: list[str]) -> tuple[Document, tuple[float | None, ...]]:
    """Return the image with the contract's keys alone, and its features in the contract's order.

    The reasons against it are appended.
    """
    measured, against = read_measurements(image)
    for part in _TIMES:
        given = image.get(part)
        if given is not None and not isinstance(given, str):
            reasons.append(str(Reason(part, NOT_TEXT)))
        elif given is not None and not is_time(given):
            reasons.append(str(Reason(part, NOT_A_TIME)))
    reasons.extend(against)
    kept = {name: measured[name] if name in measured else image.get(name) for name in _IMAGE_KEYS}
    return kept, tuple(measured[name] for name in FEATURE_NAMES)


def _has_schema(document: Document) -> bool:
    return "payload" in document and "op" not in document


def _is_about_a_transaction(envelope: Document) -> bool:
    return envelope.get("status") in ("BEGIN", "END") and "op" not in envelope


def _heartbeat_ms(value: bytes | None, now_ms: int) -> int | None:
    """Return when Debezium was known to live; None for what is no heartbeat after all."""
    document = {} if value is None else read_object("message", value)[0]
    payload = document.get("payload", document)
    given = payload.get("ts_ms") if isinstance(payload, dict) else None
    unheard: list[str] = []
    return _time("ts_ms", given, unheard, now_ms)


def _key(key: bytes | None) -> tuple[int | None, tuple[str, ...]]:
    """Return the id in a message's key, with or without a schema, and what is wrong with it."""
    if key is None:
        return None, (str(Reason("key", MISSING)),)
    document, reasons = read_object("key", key)
    if reasons:
        return None, reasons
    payload = document.get("payload", document)
    found = payload.get("id") if isinstance(payload, dict) else None
    if type(found) is int:
        return found, ()
    return None, (str(Reason("key", MISMATCH)),)


def _source(given: object, reasons: list[str], now_ms: int) -> tuple[int | None, int | None]:
    source = _object("source", given, reasons)
    if source is None:
        return None, None
    if source.get("table") != _TABLE or source.get("schema", _SCHEMA) != _SCHEMA:
        reasons.append(str(Reason("source.table", NOT_ALLOWED)))
    lsn = _integer("source.lsn", source.get("lsn"), reasons)
    return lsn, _time("source.ts_ms", source.get("ts_ms"), reasons, now_ms)


def _object(part: EventField, given: object, reasons: list[str]) -> Document | None:
    if isinstance(given, dict):
        return given
    reasons.append(str(Reason(part, MISSING if given is None else NOT_AN_OBJECT)))
    return None


def _integer(part: EventField, given: object, reasons: list[str]) -> int | None:
    if type(given) is int and 0 < given <= LARGEST:
        return given
    if given is None:
        reasons.append(str(Reason(part, MISSING)))
    elif type(given) is int and given <= 0:
        reasons.append(str(Reason(part, BELOW_MINIMUM)))
    else:
        reasons.append(str(Reason(part, NOT_AN_INTEGER)))
    return None


def _time(part: EventField, given: object, reasons: list[str], now_ms: int) -> int | None:
    found = _integer(part, given, reasons)
    if found is not None and found > now_ms + CLOCK_SKEW_MS:
        reasons.append(str(Reason(part, IN_THE_FUTURE)))
        return None
    return found
