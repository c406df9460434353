"""Dead letters and windows as Flink writes them."""

import json

from diabetes_platform.contract.topics import CDC_TOPIC, DEAD_LETTER_HEADERS, WINDOW_KEYS
from diabetes_platform_tests.streaming.sink import Record

SECRET = b'{"glucose": 4711'
"""The original of a dead letter; its value must appear in no log and no metadata."""
START_MS = 1_795_550_040_000


def letter_headers(*reasons: str, offset: int = 7, topic: str = CDC_TOPIC) -> dict[str, bytes]:
    """The headers of a dead letter."""
    names = DEAD_LETTER_HEADERS
    return {
        names.reasons: json.dumps(reasons).encode(),
        names.topic: topic.encode(),
        names.partition: b"2",
        names.offset: str(offset).encode(),
        names.rejected_ms: b"1795550000123",
    }


def window(number: int = 0, /, **changed: object) -> dict[str, object]:
    """A window of one minute with ten events, `number` minutes after the first."""
    start = START_MS + 60_000 * number
    counts = {"events": 10, "accepted": 8, "deleted": 0, "rejected": 1, "late": 1}
    numbers = dict.fromkeys(WINDOW_KEYS.all, 0.25)
    times = {WINDOW_KEYS.start: start, WINDOW_KEYS.end: start + 60_000}
    return {**numbers, **times, **counts, **changed}


def window_message(number: int = 0, /, **changed: object) -> Record:
    """The message of a window."""
    key = {WINDOW_KEYS.start: START_MS + 60_000 * number}
    return json.dumps(key).encode(), json.dumps(window(number, **changed)).encode()
