"""The validation of the stream's messages: Debezium's change events and images of the sink topic.

Flink's job, the predictor and the lake share these functions. They return every fault of a message
and never raise, whatever its bytes are. Flink decodes most valid messages with a faster decoder of
its own and calls these functions for the rest.

A reason is a `Reason`, written `source.lsn:missing`. The reasons of a measurement are those of the
row validator (`validation.py`), except that a number written as text is also rejected.
"""

import json
import math
import re
from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, Literal

from diabetes_platform.contract.fields import FEATURE_NAMES, FEATURES, FIELDS, Field
from diabetes_platform.contract.tables import DIABETES_NEW
from diabetes_platform.contract.topics import (
    CAPTURE_EPOCH_KEY,
    DELETED,
    EPOCH_UNIT,
    IMAGE_OPERATIONS,
    MAX_EPOCH,
    OPERATIONS,
    TIMESTAMP_KEYS,
)
from diabetes_platform.contract.validation import (
    ABOVE_MAXIMUM,
    BELOW_MINIMUM,
    MISSING,
    NOT_A_NUMBER,
    NOT_ALLOWED,
    NOT_AN_INTEGER,
    Reason,
    parse,
    reason_for_parsed,
)

IMAGE_KEYS = DIABETES_NEW.column_names
"""The keys of a row's image in a change event."""
REQUIRED_IMAGE_KEYS = (*DIABETES_NEW.key, *(field.name for field in FEATURES if field.original))
"""The keys of every image: events from before a later field's column existed lack its key."""
SINK_KEYS: tuple[str, ...] = (*IMAGE_KEYS, "op", "lsn", *TIMESTAMP_KEYS)
"""A message of the sink topic: a patient's newest valid image, flat. A tombstone is a deletion."""

EnvelopeField = Literal[
    "message", "record", "key", "key.id", "op", "lsn", "source", "source.lsn", "source.ts_ms",
    "source.table", "ts_ms", "before", "after", "id", "received_at", "outcome_recorded_at",
    "changed_ms", "captured_ms", "judged_ms", "capture_epoch",
]  # fmt: skip
"""The path of a field that is not a measurement; `message` and `record` are the whole value."""

NOT_JSON = "not_json"
NESTED_TOO_DEEPLY = "nested_too_deeply"
NOT_AN_OBJECT = "not_an_object"
NOT_TEXT = "not_text"
NOT_A_TIME = "not_a_time"
MISMATCH = "mismatch"
IN_THE_FUTURE = "in_the_future"

CLOCK_SKEW_MS: Final = 300_000
"""How far a timestamp may be ahead of the validator's clock: five minutes.

A timestamp further ahead would close every window early. There is no limit for the past: a change
is captured late whenever a service was down, and the windows count it as late.
"""
LARGEST_BIGINT: Final = 2**63 - 1
"""The largest `bigint` of PostgreSQL, Delta and Flink."""
LARGEST_TIMESTAMP_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999, which is the maximum of a `datetime`."""
_LARGEST_INTEGER = 2**31 - 1
_EPOCH_TEXT = re.compile("[0-9]{1,6}")
_EPOCH = datetime.fromtimestamp(0, UTC)
_SCHEMA, _TABLE = DIABETES_NEW.name.split(".")
_RANGE_CODES = frozenset({BELOW_MINIMUM, ABOVE_MAXIMUM, NOT_ALLOWED})

Document = dict[str, object]


@dataclass(frozen=True, slots=True)
class Change:
    """A valid change of one patient; times in milliseconds since 1970 (UTC).

    `lsn` contains the epoch, so that it grows although a new server's log starts again. `image` has
    the columns of `public.diabetes_new`; of a deletion it is empty.
    """

    id: int
    op: str
    lsn: int
    changed_ms: int
    captured_ms: int
    image: Document

    @property
    def features(self) -> tuple[float | None, ...]:
        """The measurements in the contract's order, None if missing; empty for a deletion."""
        # The validation has converted them to numbers.
        return tuple(map(self.image.get, FEATURE_NAMES)) if self.image else ()  # type: ignore[arg-type]

    def sink_message(self, judged_ms: int) -> Document:
        """Return the message of the sink topic (SINK_KEYS) for a change that is not a deletion."""
        timestamps = (self.changed_ms, self.captured_ms, judged_ms)
        position = {"op": self.op, "lsn": self.lsn}
        return {**self.image, **position, **dict(zip(TIMESTAMP_KEYS, timestamps, strict=True))}


@dataclass(frozen=True, slots=True)
class SinkImage(Change):
    """A valid message of the sink topic that is not a deletion; `judged_ms`: Flink's verdict."""

    judged_ms: int

    @property
    def digest(self) -> str:
        """A hash of the image: equal for changes after which the row has the same values.

        The position of the change, missing values and the notation of a value have no influence.
        """
        values = {
            name: _canonical(value) for name, value in self.image.items() if value is not None
        }
        return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Deletion:
    """A tombstone of the sink topic: the patient was deleted."""

    id: int


@dataclass(frozen=True, slots=True)
class Invalid:
    """All reasons to reject a message, in the order of its fields."""

    reasons: tuple[Reason, ...]


def validate_change_event(
    key: bytes | None, value: bytes | None, now_ms: int
) -> Change | Invalid | None:
    """Return the change in a message of the CDC topic; None if it concerns no patient.

    Such messages are the tombstone after a deletion and the start and end of a transaction. Key and
    value may include their schema. `now_ms` is the validator's clock in ms since 1970 (UTC).
    """
    if value is None:
        return None
    reader = _Reader()
    document = reader.decode("message", value)
    envelope: object = document
    if document is not None and "payload" in document and "op" not in document:
        if (envelope := document["payload"]) is None:
            return None  # the tombstone after a deletion, with a schema
        if not isinstance(envelope, dict):
            reader.reject("message", NOT_AN_OBJECT)
    if not isinstance(envelope, dict):
        reader.change_key(key)
        return reader.invalid()
    if envelope.get("status") in ("BEGIN", "END") and "op" not in envelope:
        return None
    key_id = reader.change_key(key)
    op = reader.operation(envelope.get("op"), OPERATIONS)
    lsn, changed_ms = reader.source(envelope.get("source"), now_ms)
    captured_ms = reader.past_ms("ts_ms", envelope.get("ts_ms"), now_ms)
    side: EnvelopeField = "before" if op == DELETED else "after"
    row = reader.nested(side, envelope.get(side))
    row_id = None if row is None else reader.integer("id", row.get("id"))
    reader.compare_key(key_id, row_id)
    # Only the key of a deleted row is valid: Debezium fills the other columns with defaults.
    image = {} if row is None or op == DELETED else reader.image(row, ranges=True)
    position = reader.position(envelope.get(CAPTURE_EPOCH_KEY), lsn)
    if reader.reasons:
        return reader.invalid()
    return Change(row_id, op, position, changed_ms, captured_ms, image)  # type: ignore[arg-type]


def heartbeat_ms(value: bytes | None, now_ms: int) -> int | None:
    """Return the time in a message of the heartbeat topic; None if it has no valid time."""
    reader = _Reader()
    document = reader.decode("message", value) or {}
    payload = document.get("payload", document)
    time = payload.get("ts_ms") if isinstance(payload, dict) else None
    return reader.past_ms("ts_ms", time, now_ms)


def validate_sink_message(
    key: bytes | None, value: bytes | None, *, ranges: bool = True
) -> SinkImage | Deletion | Invalid:
    """Return the image or deletion in a message of the sink topic.

    With `ranges=False`, a measurement only has to fit its type, so that an image that Flink
    accepted stays readable after a field's range was narrowed.
    """
    reader = _Reader()
    key_id = reader.sink_key(key)
    if value is None:
        return reader.invalid() if key_id is None else Deletion(key_id)
    document = reader.decode("record", value)
    if document is None:
        return reader.invalid()
    row_id = reader.integer("id", document.get("id"))
    op = reader.operation(document.get("op"), IMAGE_OPERATIONS)
    lsn = reader.integer("lsn", document.get("lsn"))
    times = [reader.integer(k, document.get(k), LARGEST_TIMESTAMP_MS) for k in TIMESTAMP_KEYS]
    reader.compare_key(key_id, row_id)
    image = reader.image(document, ranges=ranges)
    if reader.reasons:
        return reader.invalid()
    changed_ms, captured_ms, judged_ms = times
    return SinkImage(row_id, op, lsn, changed_ms, captured_ms, image, judged_ms)  # type: ignore[arg-type]


def parse_timestamp(text: str) -> datetime | None:
    """Parse a time in ISO 8601; None if it is invalid or has no time zone."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None


def _canonical(value: object) -> object:
    """Return the same value for each notation of a number or of a time."""
    if isinstance(value, str):
        time = parse_timestamp(value)
        # Not as UTC: at the ends of the calendar, the conversion overflows.
        return value if time is None else f"{(time - _EPOCH) // timedelta(microseconds=1)} us"
    # A large id would lose digits as a float.
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _NotFiniteError(ValueError):
    """A number in JSON that is not a finite double: `NaN`, `Infinity`, `1e999`."""


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NotFiniteError(text)
    return number


_decode_strictly = json.JSONDecoder(parse_float=_finite, parse_constant=_finite).decode


class _Reader:
    """Reads the fields of one message; `reasons` collects their faults."""

    __slots__ = ("reasons",)

    def __init__(self) -> None:
        self.reasons: list[Reason] = []

    def reject(self, field: EnvelopeField, code: str) -> None:
        self.reasons.append(Reason(field, code))

    def invalid(self) -> Invalid:
        return Invalid(tuple(self.reasons))

    def decode(self, field: EnvelopeField, content: bytes | None) -> Document | None:
        """Return the JSON object in `content`, or None without one.

        Numbers that are not finite are a fault, but decoding continues, to find the faults of the
        other fields too.
        """
        if content is None:
            self.reject(field, MISSING)
            return None
        try:
            text = str(content, "utf-8")
            try:
                document = _decode_strictly(text)
            except _NotFiniteError:
                self.reject(field, NOT_JSON)
                document = json.loads(text)
        except RecursionError:
            self.reject(field, NESTED_TOO_DEEPLY)
            return None
        except ValueError:  # UnicodeDecodeError and JSONDecodeError are subclasses
            self.reject(field, NOT_JSON)
            return None
        if not isinstance(document, dict):
            self.reject(field, NOT_AN_OBJECT)
            return None
        return document

    def change_key(self, key: bytes | None) -> int | None:
        """Return the id in the key of a change event, with or without a schema."""
        document = self.decode("key", key)
        if document is None:
            return None
        payload = document.get("payload", document)
        row_id = payload.get("id") if isinstance(payload, dict) else None
        if type(row_id) is int:
            return row_id
        self.reject("key", MISMATCH)
        return None

    def sink_key(self, key: bytes | None) -> int | None:
        """Return the id in the key of a message of the sink topic."""
        document = self.decode("key", key)
        return None if document is None else self.integer("key.id", document.get("id"))

    def compare_key(self, key_id: int | None, row_id: int | None) -> None:
        if None not in (key_id, row_id) and key_id != row_id:
            self.reject("key", MISMATCH)

    def operation(self, value: object, allowed: Container[str]) -> str | None:
        if isinstance(value, str) and value in allowed:
            return value
        self.reject("op", MISSING if value is None else NOT_ALLOWED)
        return None

    def source(self, value: object, now_ms: int) -> tuple[int | None, int | None]:
        """Return the log sequence number and the commit's time."""
        source = self.nested("source", value)
        if source is None:
            return None, None
        if source.get("table") != _TABLE or source.get("schema", _SCHEMA) != _SCHEMA:
            self.reject("source.table", NOT_ALLOWED)
        lsn = self.integer("source.lsn", source.get("lsn"))
        return lsn, self.past_ms("source.ts_ms", source.get("ts_ms"), now_ms)

    def position(self, epoch: object, lsn: int | None) -> int | None:
        """Return the log sequence number with its epoch."""
        if epoch is None:
            return lsn
        if not isinstance(epoch, str) or not _EPOCH_TEXT.fullmatch(epoch):
            self.reject("capture_epoch", NOT_AN_INTEGER)
        elif int(epoch) > MAX_EPOCH:
            self.reject("capture_epoch", ABOVE_MAXIMUM)
        elif lsn is not None:
            return self.integer("source.lsn", int(epoch) * EPOCH_UNIT + lsn)
        return None

    def nested(self, field: EnvelopeField, value: object) -> Document | None:
        """Return a value that is a JSON object; reject any other."""
        if isinstance(value, dict):
            return value
        self.reject(field, MISSING if value is None else NOT_AN_OBJECT)
        return None

    def integer(
        self, field: EnvelopeField, value: object, maximum: int = LARGEST_BIGINT
    ) -> int | None:
        """Return a positive whole number."""
        if value is None:
            self.reject(field, MISSING)
        elif type(value) is not int:
            self.reject(field, NOT_AN_INTEGER)
        elif value <= 0:
            self.reject(field, BELOW_MINIMUM)
        elif value > maximum:
            self.reject(field, ABOVE_MAXIMUM)
        else:
            return value
        return None

    def past_ms(self, field: EnvelopeField, value: object, now_ms: int) -> int | None:
        """Return a timestamp in milliseconds; reject one that is in the future."""
        time = self.integer(field, value)
        if time is not None and time > now_ms + CLOCK_SKEW_MS:
            self.reject(field, IN_THE_FUTURE)
            return None
        return time

    def image(self, row: Document, *, ranges: bool) -> Document:
        """Return the contract's columns of `row`, without any other column."""
        self.time("received_at", row.get("received_at"))
        self.time("outcome_recorded_at", row.get("outcome_recorded_at"))
        values = {field.name: self.measurement(field, row, ranges=ranges) for field in FIELDS}
        return {name: values[name] if name in values else row.get(name) for name in IMAGE_KEYS}

    def time(self, field: EnvelopeField, value: object) -> None:
        """Reject a value that is neither NULL nor a timestamp as text."""
        if value is not None and not isinstance(value, str):
            self.reject(field, NOT_TEXT)
        elif value is not None and parse_timestamp(value) is None:
            self.reject(field, NOT_A_TIME)

    def measurement(self, field: Field, row: Document, *, ranges: bool) -> float | None:
        """Return a measurement in its field's type, None if it is missing or rejected."""
        value = row.get(field.name)
        if _is_surely_valid(field, value):
            return value  # type: ignore[return-value]
        if field.name not in row and field.name in REQUIRED_IMAGE_KEYS:
            self.reasons.append(Reason(field.name, MISSING))
            return None
        if isinstance(value, str):
            # A source file may contain "148" as text, but a numeric column does not.
            self.reasons.append(Reason(field.name, NOT_A_NUMBER))
            return None
        parsed = parse(field, value)
        number = parsed.value
        reason = reason_for_parsed(field, parsed)
        if reason is not None and not ranges and reason.code in _RANGE_CODES:
            fits = field.kind == "number" or number is None or abs(number) <= _LARGEST_INTEGER
            reason = None if fits else reason
        if reason is not None:
            self.reasons.append(reason)
            return None
        return int(number) if number is not None and field.kind == "integer" else number


def _is_surely_valid(field: Field, value: object) -> bool:
    """Whether `value` is valid by a fast check, which most values pass; False proves nothing.

    No code for missing values lies within the bounds: `Field` rejects such a definition.
    """
    kind = type(value)
    if kind is not int and (kind is not float or field.kind == "integer"):
        return False
    return field.allowed is None and field.minimum <= value <= field.maximum  # type: ignore[operator]
