"""The classification of one message, in two steps: a fast decode, then a full diagnosis.

The fast decode accepts changes that are certainly valid, which most are: msgspec decodes and checks
them in C, against types rendered from the contract. It rejects nothing. Every other message goes to
the contract's own validation, which returns all reasons. The two differ in one case: only the
diagnosis rejects a number outside a double's range in a key that nobody reads.
"""

import math
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec

from diabetes_platform.contract.change_events import (
    CLOCK_SKEW_MS,
    IMAGE_KEYS,
    LARGEST_BIGINT,
    REQUIRED_IMAGE_KEYS,
    Invalid,
    heartbeat_ms,
    parse_timestamp,
    validate_change_event,
)
from diabetes_platform.contract.fields import FEATURE_NAMES, FIELDS_BY_NAME, Field
from diabetes_platform.contract.tables import DIABETES_NEW
from diabetes_platform.contract.topics import (
    CAPTURE_EPOCH_KEY,
    DELETED,
    EPOCH_UNIT,
    HEARTBEAT_TOPIC,
    IMAGE_OPERATIONS,
    MAX_EPOCH,
    TIMESTAMP_KEYS,
)
from flink.patients.messages import Accepted, Ignored, KafkaMessage, Rejected, Verdict


def classify(message: KafkaMessage, now_ms: int) -> Verdict:
    """Return the verdict on `message`; `now_ms` is the job's clock, milliseconds since 1970 (UTC).

    It never raises, whatever the message contains.
    """
    if message.topic == HEARTBEAT_TOPIC:
        return Ignored(heartbeat_ms(message.value, now_ms))
    change = decode_valid_change(message, now_ms)
    return diagnose(message, now_ms) if change is None else change


def diagnose(message: KafkaMessage, now_ms: int) -> Verdict:
    """Return the verdict of the contract's validation, with all reasons to reject."""
    change = validate_change_event(message.key, message.value, now_ms)
    if change is None:
        return Ignored()
    if isinstance(change, Invalid):
        return Rejected(tuple(map(str, change.reasons)))
    image = None if change.op == DELETED else _encode(change.sink_message(now_ms))
    return Accepted(change.id, change.lsn, change.changed_ms, image, change.features)


def decode_valid_change(message: KafkaMessage, now_ms: int) -> Accepted | None:
    """Return a change that is certainly valid; None if the message needs a diagnosis."""
    try:
        # As text, because msgspec skips unread keys without checking that they are UTF-8.
        text = str(message.value, "utf-8")  # type: ignore[arg-type]
        key: Any = _decode_key(message.key)  # type: ignore[arg-type]
        change = _decode_change(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, RecursionError):
        return None
    source, maximum_ms = change.source, now_ms + CLOCK_SKEW_MS
    epoch = int(change.capture_epoch)
    lsn = epoch * EPOCH_UNIT + source.lsn
    in_the_future = change.ts_ms > maximum_ms or source.ts_ms > maximum_ms
    if in_the_future or epoch > MAX_EPOCH or lsn > LARGEST_BIGINT:
        return None
    if change.op == DELETED:
        row_id = change.before.id
        return Accepted(row_id, lsn, source.ts_ms, None, ()) if key.id == row_id else None
    image = change.after
    if key.id != image.id:
        return None
    for time in (image.received_at, image.outcome_recorded_at):
        if time is not None and parse_timestamp(time) is None:
            return None
    suffix = _SUFFIX % (change.op.encode(), lsn, source.ts_ms, change.ts_ms, now_ms)
    content = _encode(image)[:-1] + suffix
    return Accepted(image.id, lsn, source.ts_ms, content, _features(image))


def _decode_change(text: str) -> Any:  # noqa: ANN401 - of a type built at run time
    try:
        return _decode_image(text)
    except msgspec.ValidationError:
        return _decode_deletion(text)


_SCHEMA, _TABLE = DIABETES_NEW.name.split(".")
_PositiveInt = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_BIGINT)]


def _measurement_type(field: Field) -> Any:  # noqa: ANN401 - a type built at run time
    if field.allowed is not None:
        return Literal[field.allowed]
    bounds = msgspec.Meta(ge=math.ceil(field.minimum), le=math.floor(field.maximum))
    integer = Annotated[int, bounds]
    if field.kind == "integer":
        return integer
    # The number keeps its type, so that 148 is written as 148.
    return integer | Annotated[float, msgspec.Meta(ge=field.minimum, le=field.maximum)]


def _image_field(name: str) -> tuple[str, Any] | tuple[str, Any, None]:
    field = FIELDS_BY_NAME.get(name)
    if field is None:
        return (name, _PositiveInt) if name in REQUIRED_IMAGE_KEYS else (name, str | None, None)
    measurement = _measurement_type(field)
    kind = measurement if field.required else measurement | None
    return (name, kind) if name in REQUIRED_IMAGE_KEYS else (name, kind, None)


# `kw_only`: required keys have no default, and may follow keys that have one.
_Image: Any = msgspec.defstruct("_Image", map(_image_field, IMAGE_KEYS), kw_only=True, gc=False)
_Source = msgspec.defstruct(
    "_Source",
    [
        ("lsn", _PositiveInt),
        ("ts_ms", _PositiveInt),
        ("table", Literal[_TABLE]),
        ("schema", Literal[_SCHEMA], _SCHEMA),
    ],
    gc=False,
)
_EPOCH = (CAPTURE_EPOCH_KEY, Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,6}\Z")], "0")
_Change = msgspec.defstruct(
    "_Change",
    [
        ("op", Literal[IMAGE_OPERATIONS]),
        ("ts_ms", _PositiveInt),
        ("after", _Image),
        ("source", _Source),
        _EPOCH,
    ],
)
_Row = msgspec.defstruct("_Row", [("id", _PositiveInt)], gc=False)
_Deletion = msgspec.defstruct(
    "_Deletion",
    [
        ("op", Literal[DELETED]),
        ("ts_ms", _PositiveInt),
        ("before", _Row),
        ("source", _Source),
        _EPOCH,
    ],
)
_Key = msgspec.defstruct("_Key", [("id", int)], forbid_unknown_fields=True, gc=False)
_decode_image = msgspec.json.Decoder(_Change).decode
_decode_deletion = msgspec.json.Decoder(_Deletion).decode
_decode_key = msgspec.json.Decoder(_Key).decode
_encode = msgspec.json.Encoder().encode
_features = attrgetter(*FEATURE_NAMES)
_TIMESTAMPS = b",".join(b'"%b":%%d' % name.encode() for name in TIMESTAMP_KEYS)
_SUFFIX = b',"op":"%b","lsn":%d,' + _TIMESTAMPS + b"}"
