"""A message of the sink topic as a row of `stream/patients`. Pure.

Flink has held every image to the contract; here a message is only held to its shape.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Annotated, Any

import pyarrow as pa
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, create_model

from diabetes_platform.contract.events import DELETED, DIABETES_NEW_CHANGED
from diabetes_platform.contract.tables import DIABETES_NEW, STREAM_PATIENTS, Column
from diabetes_platform.lake.schema import row_schema

STREAM_SCHEMA = row_schema(STREAM_PATIENTS)
_TYPES: dict[str, Any] = {
    "bigint": Annotated[int, Field(ge=-(2**63), lt=2**63)],
    "integer": Annotated[int, Field(ge=-(2**31), lt=2**31)],
    "number": float,
    "timestamp": AwareDatetime,
}
_MILLISECONDS = Annotated[int, Field(ge=0, lt=2**43)]
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)

Row = dict[str, object]


class UnreadableError(ValueError):
    """A message that is no patient's image: where it lies and all reasons, without its values."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message lies; `topic_id` is Kafka's id of the topic."""

    topic: str
    topic_id: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"


@dataclass(frozen=True, slots=True)
class SinkMessage:
    """A message as Kafka has it; `value` is None where the patient was deleted."""

    place: Place
    written_ms: int
    key: bytes | None
    value: bytes | None


def row_of(message: SinkMessage, day: date) -> Row:
    """Return the row of STREAM_PATIENTS; UnreadableError where the message has none."""
    try:
        # Typed as Any: these models are rendered from the contract.
        key: Any = _key_model().model_validate_json(message.key or b"")
        image: Any = None
        if message.value is not None:
            image = _image_model().model_validate_json(message.value)
    except ValidationError as error:
        raise UnreadableError(f"{message.place}: {_reasons(error)}") from None
    if image is not None and image.id != key.id:
        raise UnreadableError(f"{message.place}: key: is not the id of the image")
    place = message.place
    row: Row = {
        "day": day.isoformat(),
        "id": key.id,
        "topic_id": place.topic_id,
        "kafka_partition": place.partition,
        "kafka_offset": place.offset,
        "written_at": _time(message.written_ms),
    }
    if image is None:
        deletion = f"{key.id}-deleted-{place.topic_id}-{place.partition}-{place.offset}"
        return {**row, "change_id": deletion, "op": DELETED}
    return {
        **row,
        "change_id": f"{image.id}-{image.lsn}",
        "op": image.op,
        "lsn": image.lsn,
        "changed_at": _time(image.changed_ms),
        "captured_at": _time(image.captured_ms),
        "judged_at": _time(image.judged_ms),
        **{name: getattr(image, name) for name in DIABETES_NEW.column_names},
    }


def table_of(rows: Iterable[Row]) -> pa.Table:
    """Return the rows as Arrow has them, each change once: Flink may write one again."""
    first: dict[object, Row] = {}
    for row in rows:
        first.setdefault(row["change_id"], row)
    return pa.Table.from_pylist(list(first.values()), schema=STREAM_SCHEMA)


@cache
def _key_model() -> type[BaseModel]:
    fields: Mapping[str, Any] = dict.fromkeys(DIABETES_NEW.key, (_TYPES["bigint"], ...))
    return create_model("Key", __config__=_STRICT, **fields)


@cache
def _image_model() -> type[BaseModel]:
    operations = "|".join(sorted(DIABETES_NEW_CHANGED.operations.keys() - {DELETED}))
    fields: Mapping[str, Any] = {
        **{column.name: (_type(column), ...) for column in DIABETES_NEW.columns},
        "op": (Annotated[str, Field(pattern=f"^({operations})$")], ...),
        "lsn": (_TYPES["bigint"], ...),
        **dict.fromkeys(("changed_ms", "captured_ms", "judged_ms"), (_MILLISECONDS, ...)),
    }
    return create_model("Image", __config__=_STRICT, **fields)


def _type(column: Column) -> Any:  # noqa: ANN401 - a type that is made, not written
    required = column.name in DIABETES_NEW_CHANGED.required_image_keys and not column.nullable
    return _TYPES[column.type] if required else _TYPES[column.type] | None


def _reasons(error: ValidationError) -> str:
    """Return all reasons in one line; the message's own values stay out of it."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    reasons = (f"{'.'.join(map(str, one['loc'])) or 'message'}: {one['type']}" for one in found)
    return ", ".join(sorted(reasons))


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
