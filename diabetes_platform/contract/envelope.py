"""Why a change event is rejected: the parts of a message besides the measurements, and codes.

A reason is written like every other, `source.lsn:missing`; of a measurement it is the row
validator's own (`validation.py`), except that text is no number here.
"""

from typing import Literal

Part = Literal[
    "message", "key", "op", "source", "source.lsn", "source.ts_ms", "source.table", "ts_ms",
    "before", "after", "id", "received_at", "outcome_recorded_at",
]  # fmt: skip
"""What a reason is about, by its place in the message; `ts_ms` is when it was captured."""

NOT_JSON = "not_json"
NESTED_TOO_DEEPLY = "nested_too_deeply"
NOT_AN_OBJECT = "not_an_object"
NOT_TEXT = "not_text"
NOT_A_TIME = "not_a_time"
MISMATCH = "mismatch"
IN_THE_FUTURE = "in_the_future"

CLOCK_SKEW_MS = 300_000
"""So far may a stamp lie ahead of the clock of whoever judges it: five minutes.

One further ahead would close every window before its time. There is no bound on the other side:
a change is captured late whenever a service was down, and what is late is counted as late.
"""


def part_reason(part: Part, code: str) -> str:
    """Return the reason as it is written."""
    return f"{part}:{code}"
