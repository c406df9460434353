"""Reading an ordinary change in one step: most messages are such, and Python is their cost.

The types say what surely is a valid change, with the contract's bounds; msgspec reads and checks
them at once, in C. Nothing is rejected here: what is not ordinary goes the long way (`judging.py`),
which knows every reason. In keys that nobody reads, a number beyond the doubles is not looked at.
"""

import math
from operator import attrgetter
from typing import Annotated, Any, Final, Literal

import msgspec

from diabetes_platform.contract.change_events import CLOCK_SKEW_MS
from diabetes_platform.contract.events import DELETED, DIABETES_NEW_CHANGED, TIMESTAMP_KEYS
from diabetes_platform.contract.fields import FEATURE_NAMES, FIELDS_BY_NAME, Field
from diabetes_platform.contract.tables import DIABETES_NEW
from flink.patients.times import is_time
from flink.patients.verdicts import Accepted, Received

LARGEST: Final = 2**63 - 1
"""What PostgreSQL's bigint holds, and Flink's."""
_SCHEMA, _TABLE = DIABETES_NEW.name.split(".")
_NECESSARY = frozenset(DIABETES_NEW_CHANGED.required_image_keys)
_PositiveInt = Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]


def _number(field: Field) -> Any:  # noqa: ANN401 - a type that is made
    whole = Annotated[int, msgspec.Meta(ge=math.ceil(field.minimum), le=math.floor(field.maximum))]
    if field.kind == "integer":
        return whole
    # A number is written as it came: 148 stays 148.
    return whole | Annotated[float, msgspec.Meta(ge=field.minimum, le=field.maximum)]


def _image_field(name: str) -> tuple[str, Any] | tuple[str, Any, None]:
    field = FIELDS_BY_NAME.get(name)
    if field is None:
        return (name, _PositiveInt) if name in _NECESSARY else (name, str | None, None)
    kind = _number(field) if field.required else _number(field) | None
    return (name, kind) if name in _NECESSARY else (name, kind, None)


# The necessary keys have no default, and may stand behind those that have one.
_Image: Any = msgspec.defstruct(
    "_Image", map(_image_field, DIABETES_NEW_CHANGED.image_keys), kw_only=True, gc=False
)
_OPERATIONS = tuple(op for op in DIABETES_NEW_CHANGED.operations if op != DELETED)
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
_Change = msgspec.defstruct(
    "_Change",
    [("op", Literal[_OPERATIONS]), ("ts_ms", _PositiveInt), ("after", _Image), ("source", _Source)],
)
_Key = msgspec.defstruct("_Key", [("id", int)], forbid_unknown_fields=True, gc=False)
_read_change = msgspec.json.Decoder(_Change).decode
_read_key = msgspec.json.Decoder(_Key).decode
_write = msgspec.json.Encoder().encode
_features = attrgetter(*FEATURE_NAMES)
_STAMPS = b",".join(b'"%b":%%d' % name.encode() for name in TIMESTAMP_KEYS)
_STAMPED = b',"op":"%b","lsn":%d,' + _STAMPS + b"}"


def ordinary(received: Received, now_ms: int) -> Accepted | None:
    """Return a change that is valid beyond doubt; None for whatever must be looked at.

    `now_ms` is the judge's clock, milliseconds since 1970 (UTC).
    """
    try:
        # As text: what is skipped must be UTF-8 too.
        change: Any = _read_change(str(received.value, "utf-8"))  # type: ignore[arg-type]
        key: Any = _read_key(received.key)  # type: ignore[arg-type]
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, RecursionError):
        return None
    image, source = change.after, change.source
    newest = now_ms + CLOCK_SKEW_MS
    if key.id != image.id or change.ts_ms > newest or source.ts_ms > newest:
        return None
    for time in (image.received_at, image.outcome_recorded_at):
        if time is not None and not is_time(time):
            return None
    stamps = _STAMPED % (change.op.encode(), source.lsn, source.ts_ms, change.ts_ms, now_ms)
    written = _write(image)[:-1] + stamps
    return Accepted(image.id, source.lsn, source.ts_ms, written, _features(image))
