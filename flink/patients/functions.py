"""The job's only Python function, which classifies each message and assigns its event time.

A scalar function is the cheapest exchange between the JVM and Python: one call with the columns it
needs, and one value back. Columns that Python does not need stay in the JVM.
"""

import time

import msgspec
from pyflink.common import Row
from pyflink.table import DataTypes, FunctionContext
from pyflink.table.udf import ScalarFunction

from flink.patients.changes import classify
from flink.patients.event_time import EventTime, TimedMessage, WindowOptions
from flink.patients.messages import (
    ACCEPTED,
    DELETED,
    HEARTBEAT,
    IGNORED,
    REJECTED,
    Accepted,
    KafkaMessage,
    Rejected,
)

VERDICT = {
    "kind": DataTypes.STRING(),
    "event_ms": DataTypes.BIGINT(),
    "watermark_ms": DataTypes.BIGINT(),
    "id": DataTypes.BIGINT(),
    "lsn": DataTypes.BIGINT(),
    "image": DataTypes.BYTES(),
    "features": DataTypes.ARRAY(DataTypes.DOUBLE()),
    "reasons": DataTypes.STRING(),
    "rejected_ms": DataTypes.BIGINT(),
}
"""The columns of a verdict; only an accepted message has image and features (contract's order)."""
VERDICT_TYPE = DataTypes.ROW([DataTypes.FIELD(name, kind) for name, kind in VERDICT.items()])
_Change = tuple[int | None, int | None, bytes | None, list[float | None]]
# PyFlink's converter of arrays takes a list, and no None.
_NO_CHANGE: _Change = (None, None, None, [])


class ClassifyMessage(ScalarFunction):  # type: ignore[misc]
    """Maps key, value, topic and partition of a message to a row of `VERDICT_TYPE`."""

    def __init__(self, windows: WindowOptions) -> None:
        self._windows = windows

    def open(self, function_context: FunctionContext) -> None:  # noqa: ARG002 - Flink's signature
        """Create the state of this subtask: its event time."""
        self._time = EventTime(self._windows, time.time_ns() // 1_000_000)
        self._row = Row(*[None] * len(VERDICT))

    def is_deterministic(self) -> bool:
        """Return False, so that the planner calls it exactly once for each message."""
        return False

    def eval(self, key: bytes | None, value: bytes | None, topic: str, partition: int) -> Row:
        """Return the verdict on one message."""
        now_ms = time.time_ns() // 1_000_000
        verdict = classify(KafkaMessage(key, value, topic), now_ms)
        source = (topic, partition)
        if isinstance(verdict, Accepted):
            kind = DELETED if verdict.image is None else ACCEPTED
            timed = self._time.assign(source, kind, verdict.changed_ms, now_ms)
            features = [None if value is None else float(value) for value in verdict.features]
            return self._verdict(timed, (verdict.id, verdict.lsn, verdict.image, features))
        if isinstance(verdict, Rejected):
            timed = self._time.assign(source, REJECTED, now_ms, now_ms)
            reasons = msgspec.json.encode(verdict.reasons).decode()
            return self._verdict(timed, reasons=reasons, rejected_ms=now_ms)
        if verdict.heartbeat_ms is None:
            return self._verdict(self._time.assign(source, IGNORED, now_ms, now_ms))
        return self._verdict(self._time.assign(source, HEARTBEAT, verdict.heartbeat_ms, now_ms))

    def _verdict(
        self,
        timed: TimedMessage,
        change: _Change = _NO_CHANGE,
        reasons: str | None = None,
        rejected_ms: int | None = None,
    ) -> Row:
        """Return the verdict in a reused row, which Flink reads before the next call."""
        times = timed.event_ms, timed.watermark_ms
        self._row[:] = (timed.kind, *times, *change, reasons, rejected_ms)
        return self._row
