"""Conversion of Kafka messages to rows of the lake: patients, dead letters, windows. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from diabetes_platform.contract.change_events import (
    Deletion,
    Invalid,
    parse_timestamp,
    validate_sink_message,
)
from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.tables import (
    DIABETES_NEW,
    STREAM_PATIENTS,
    STREAM_REJECTED,
    STREAM_WINDOWS,
    Table,
)
from diabetes_platform.contract.topics import (
    DEAD_LETTER_HEADERS,
    DELETED,
    WINDOW_KEYS,
    mean_name,
    missing_share_name,
)
from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.newest_patients import without_unchanged
from diabetes_platform.streaming.dead_letters import parse_reasons
from diabetes_platform.streaming.offsets import BATCH_MESSAGES
from diabetes_platform.streaming.topic import TopicMessage

Row = dict[str, object]

_INTEGER = re.compile(rb"\d{1,18}")
_PARTITIONS = 2**31
_MAX_MS = 2**43
"""Milliseconds since 1970, in the year 2248; a larger number is no timestamp."""
_TIMES = tuple(column.name for column in DIABETES_NEW.columns if column.type == "timestamp")
_MILLISECONDS = Annotated[int, Field(ge=0, lt=_MAX_MS)]
_COUNT = Annotated[int, Field(ge=0, lt=2**63)]
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


class UnreadableMessageError(ValueError):
    """A message cannot be converted; the error has its position and reasons, but no values."""


@dataclass(frozen=True, slots=True)
class TopicTable:
    """A topic's table in the lake.

    `row_of` converts a message of a day to a row, or raises UnreadableMessageError. `new_rows`
    leaves out rows that repeat what the lake has. A batch holds at most `batch_messages` of a
    partition in memory.
    """

    contract: Table
    row_of: Callable[[TopicMessage, date], Row]
    batch_messages: int = BATCH_MESSAGES
    new_rows: Callable[[Lake, pa.Table], pa.Table] = lambda _lake, rows: rows

    def to_arrow(self, rows: Iterable[Row]) -> pa.Table:
        """Return the rows without repeated keys: after a failure, Flink may repeat a message."""
        first_by_key: dict[tuple[object, ...], Row] = {}
        for row in rows:
            first_by_key.setdefault(tuple(row[name] for name in self.contract.key), row)
        return pa.Table.from_pylist(list(first_by_key.values()), schema=row_schema(self.contract))


def patient_row(message: TopicMessage, day: date) -> Row:
    """Return the row of STREAM_PATIENTS for an image or a tombstone of the sink topic.

    Flink has validated the ranges. Only the types are validated here, so that an old image stays
    readable after a range was narrowed. Raises UnreadableMessageError.
    """
    position = message.position
    image = validate_sink_message(message.key, message.value, ranges=False)
    if isinstance(image, Invalid):
        raise UnreadableMessageError(f"{position}: {', '.join(map(str, image.reasons))}")
    row: Row = {**_position_columns(message, day), "id": image.id}
    if isinstance(image, Deletion):
        change_id = f"{image.id}-deleted-{position.topic_id}-{position.partition}-{position.offset}"
        return {**row, "change_id": change_id, "op": DELETED}
    return {
        **row,
        "change_id": f"{image.id}-{image.lsn}",
        "op": image.op,
        "lsn": image.lsn,
        "changed_at": _timestamp(image.changed_ms),
        "captured_at": _timestamp(image.captured_ms),
        "judged_at": _timestamp(image.judged_ms),
        **image.image,
        **{name: _parsed(image.image[name]) for name in _TIMES},
    }


def rejected_row(message: TopicMessage, day: date) -> Row:
    """Return the row of STREAM_REJECTED for a dead letter.

    It never raises: headers that are missing or cannot be read are NULL.
    """
    headers, names = message.headers, DEAD_LETTER_HEADERS
    topic = headers.get(names.topic)
    rejected_ms = _integer(headers.get(names.rejected_ms), _MAX_MS)
    return {
        **_position_columns(message, day),
        "reasons": list(parse_reasons(headers.get(names.reasons))),
        "source_topic": None if topic is None else topic.decode(errors="replace"),
        "source_partition": _integer(headers.get(names.partition), _PARTITIONS),
        "source_offset": _integer(headers.get(names.offset)),
        "rejected_at": None if rejected_ms is None else _timestamp(rejected_ms),
        "message_key": message.key,
        "message_value": message.value,
    }


def window_row(message: TopicMessage, day: date) -> Row:
    """Return the row of STREAM_WINDOWS; UnreadableMessageError if the message is no window."""
    try:
        # Any, because the model is built from the contract at run time.
        window: Any = _window_model().model_validate_json(message.value or b"")
    except ValidationError as error:
        raise UnreadableMessageError(f"{message.position}: {_reasons(error)}") from None
    values = window.model_dump()
    return {
        **_position_columns(message, day),
        "window_start": _timestamp(values.pop(WINDOW_KEYS.start)),
        "window_end": _timestamp(values.pop(WINDOW_KEYS.end)),
        **values,
    }


PATIENTS = TopicTable(STREAM_PATIENTS, patient_row, new_rows=without_unchanged)
REJECTED = TopicTable(STREAM_REJECTED, rejected_row, batch_messages=500)
"""Fewer than for images: a dead letter may have 1 MiB, an image has about 1 KiB."""
WINDOWS = TopicTable(STREAM_WINDOWS, window_row)


def _position_columns(message: TopicMessage, day: date) -> Row:
    return {
        "day": day.isoformat(),
        "topic_id": message.position.topic_id,
        "kafka_partition": message.position.partition,
        "kafka_offset": message.position.offset,
        "written_at": _timestamp(message.written_ms),
    }


def _timestamp(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _parsed(timestamp: object) -> datetime | None:
    return parse_timestamp(timestamp) if isinstance(timestamp, str) else None


def _integer(header: bytes | None, limit: int = 2**63) -> int | None:
    if header is None or not _INTEGER.fullmatch(header):
        return None
    return value if (value := int(header)) < limit else None


def _reasons(error: ValidationError) -> str:
    """Return all reasons in one line, without values of the message."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    reasons = (f"{'.'.join(map(str, e['loc'])) or 'message'}: {e['type']}" for e in errors)
    return ", ".join(sorted(reasons))


@cache
def _window_model() -> type[BaseModel]:
    times = (WINDOW_KEYS.start, WINDOW_KEYS.end)
    types = {**dict.fromkeys(times, _MILLISECONDS), **dict.fromkeys(WINDOW_KEYS.counts, _COUNT)}
    # A window from before a field joined the contract lacks the field's columns.
    later = [field.name for field in FEATURES if not field.original]
    optional = {key(name) for name in later for key in (mean_name, missing_share_name)}
    fields: Mapping[str, Any] = {
        name: (types.get(name, float | None), None if name in optional else ...)
        for name in WINDOW_KEYS.all
    }
    return create_model("Window", __config__=_STRICT, **fields)
