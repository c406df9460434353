"""A dead letter as a row of `stream/rejected`. Pure.

Whatever lies in the topic becomes a row: what a letter does not say of itself is NULL.
"""

import re
from datetime import date, datetime

from diabetes_platform.contract.events import DEAD_LETTER_HEADERS
from diabetes_platform.streaming.messages import Row, TopicMessage, place_columns, time_of
from diabetes_platform.streaming.rejections import reasons_in

_WHOLE = re.compile(rb"\d{1,18}")
_LARGEST_PARTITION = 2**31
_LATEST_MS = 2**43
"""Some 250 years from now: what is beyond is no time."""


def row_of(message: TopicMessage, day: date) -> Row:
    """Return the row of STREAM_REJECTED."""
    headers, names = message.headers, DEAD_LETTER_HEADERS
    topic = headers.get(names.topic)
    return {
        **place_columns(message, day),
        "reasons": list(reasons_in(headers.get(names.reasons))),
        "source_topic": None if topic is None else topic.decode(errors="replace"),
        "source_partition": _whole(headers.get(names.partition), _LARGEST_PARTITION),
        "source_offset": _whole(headers.get(names.offset)),
        "rejected_at": _time(headers.get(names.rejected_ms)),
        "message_key": message.key,
        "message_value": message.value,
    }


def _whole(given: bytes | None, below: int = 2**63) -> int | None:
    if given is None or not _WHOLE.fullmatch(given):
        return None
    return found if (found := int(given)) < below else None


def _time(given: bytes | None) -> datetime | None:
    found = _whole(given, _LATEST_MS)
    return None if found is None else time_of(found)
