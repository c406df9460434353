"""A message of the sink topic as a row of `stream/patients`. Pure.

Flink has held every image to the contract; here a message is only held to its shape.
"""

from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, create_model

from diabetes_platform.contract.events import DELETED, DIABETES_NEW_CHANGED
from diabetes_platform.contract.tables import DIABETES_NEW, Column
from diabetes_platform.streaming.messages import (
    Row,
    TopicMessage,
    UnreadableError,
    place_columns,
    reasons_of,
    time_of,
)

_TYPES: dict[str, Any] = {
    "bigint": Annotated[int, Field(ge=-(2**63), lt=2**63)],
    "integer": Annotated[int, Field(ge=-(2**31), lt=2**31)],
    "number": float,
    "timestamp": AwareDatetime,
}
_MILLISECONDS = Annotated[int, Field(ge=0, lt=2**43)]
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def row_of(message: TopicMessage, day: date) -> Row:
    """Return the row of STREAM_PATIENTS; UnreadableError where the message has none."""
    try:
        # Typed as Any: these models are rendered from the contract.
        key: Any = _key_model().model_validate_json(message.key or b"")
        image: Any = None
        if message.value is not None:
            image = _image_model().model_validate_json(message.value)
    except ValidationError as error:
        raise UnreadableError(f"{message.place}: {reasons_of(error)}") from None
    if image is not None and image.id != key.id:
        raise UnreadableError(f"{message.place}: key: is not the id of the image")
    place = message.place
    row: Row = {**place_columns(message, day), "id": key.id}
    if image is None:
        deletion = f"{key.id}-deleted-{place.topic_id}-{place.partition}-{place.offset}"
        return {**row, "change_id": deletion, "op": DELETED}
    return {
        **row,
        "change_id": f"{image.id}-{image.lsn}",
        "op": image.op,
        "lsn": image.lsn,
        "changed_at": time_of(image.changed_ms),
        "captured_at": time_of(image.captured_ms),
        "judged_at": time_of(image.judged_ms),
        **{name: getattr(image, name) for name in DIABETES_NEW.column_names},
    }


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
