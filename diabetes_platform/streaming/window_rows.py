"""A message of the topic of windows as a row of `stream/windows`. Pure."""

from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from diabetes_platform.contract.events import WINDOW_KEYS
from diabetes_platform.streaming.messages import (
    Row,
    TopicMessage,
    UnreadableError,
    place_columns,
    reasons_of,
    time_of,
)

_MILLISECONDS = Annotated[int, Field(ge=0, lt=2**43)]
_COUNT = Annotated[int, Field(ge=0, lt=2**63)]
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def row_of(message: TopicMessage, day: date) -> Row:
    """Return the row of STREAM_WINDOWS; UnreadableError where the message has none."""
    try:
        # Typed as Any: the model is rendered from the contract.
        window: Any = _window_model().model_validate_json(message.value or b"")
    except ValidationError as error:
        raise UnreadableError(f"{message.place}: {reasons_of(error)}") from None
    said = window.model_dump()
    return {
        **place_columns(message, day),
        "window_start": time_of(said.pop(WINDOW_KEYS.start)),
        "window_end": time_of(said.pop(WINDOW_KEYS.end)),
        **said,
    }


@cache
def _window_model() -> type[BaseModel]:
    times = (WINDOW_KEYS.start, WINDOW_KEYS.end)
    kinds = {**dict.fromkeys(times, _MILLISECONDS), **dict.fromkeys(WINDOW_KEYS.counts, _COUNT)}
    fields: Mapping[str, Any] = {
        name: (kinds.get(name, float | None), ...) for name in WINDOW_KEYS.all
    }
    return create_model("Window", __config__=_STRICT, **fields)
