"""The rejection reasons of a change event, apart from those of its measurements.

A reason is a `Reason` like every other, written `source.lsn:missing`; the reasons of a measurement
are the row validator's (`validation.py`), except that a change event holds no number as text.
"""

from typing import Literal

EventField = Literal[
    "message", "key", "op", "source", "source.lsn", "source.ts_ms", "source.table", "ts_ms",
    "before", "after", "id", "received_at", "outcome_recorded_at",
]  # fmt: skip
"""The path of a field in a message; `ts_ms` is when Debezium captured the change."""

NOT_JSON = "not_json"
NESTED_TOO_DEEPLY = "nested_too_deeply"
NOT_AN_OBJECT = "not_an_object"
NOT_TEXT = "not_text"
NOT_A_TIME = "not_a_time"
MISMATCH = "mismatch"
IN_THE_FUTURE = "in_the_future"

CLOCK_SKEW_MS = 300_000
"""How far a timestamp may lie ahead of the validator's clock: five minutes.

A timestamp further ahead would close every window early. The past has no bound: a change is
captured late whenever a service was down, and the windows count it as late.
"""
