"""The job's one Python function: each message judged and placed in event time.

A scalar function, for that is the shortest way between the JVM and Python: one call with the
columns it needs, one value back. What Python need not see stays in the JVM.
"""

import time

import orjson
from pyflink.common import Row
from pyflink.table import DataTypes, FunctionContext
from pyflink.table.udf import ScalarFunction

from flink.patients.event_time import EventTime, Placed, Windows
from flink.patients.judging import judge
from flink.patients.verdicts import (
    ACCEPTED,
    DELETED,
    HEARTBEAT,
    IGNORED,
    REJECTED,
    Accepted,
    Received,
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
"""What is said of a message; image and features (in the contract's order) of an accepted one."""
VERDICT_TYPE = DataTypes.ROW([DataTypes.FIELD(*each) for each in VERDICT.items()])
_Change = tuple[int | None, int | None, bytes | None, list[float | None]]
# A list and not None: PyFlink's converters of arrays take nothing else.
_NO_CHANGE: _Change = (None, None, None, [])


class Judge(ScalarFunction):  # type: ignore[misc]
    """From key, value, topic and partition of a message to its `VERDICT_TYPE`."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    def open(self, function_context: FunctionContext) -> None:  # noqa: ARG002 - Flink's signature
        """Make what belongs to this subtask: its event time."""
        given = self._windows
        now_ms = time.time_ns() // 1_000_000
        self._time = EventTime(given.length_ms, given.lateness_ms, given.idle_ms, now_ms)
        self._row = Row(*[None] * len(VERDICT))

    def is_deterministic(self) -> bool:
        """Return that it is not, so that the planner calls it once for each message."""
        return False

    def eval(self, key: bytes | None, value: bytes | None, topic: str, partition: int) -> Row:
        """Return the verdict of one message."""
        now_ms = time.time_ns() // 1_000_000
        verdict = judge(Received(key, value, topic), now_ms)
        where = (topic, partition)
        if isinstance(verdict, Accepted):
            kind = DELETED if verdict.image is None else ACCEPTED
            placed = self._time.place(where, kind, verdict.changed_ms, now_ms)
            features = [None if each is None else float(each) for each in verdict.features]
            change = (verdict.id, verdict.lsn, verdict.image, features)
            return self._told(placed, change)
        if isinstance(verdict, Rejected):
            placed = self._time.place(where, REJECTED, now_ms, now_ms)
            reasons = orjson.dumps(verdict.reasons).decode()
            return self._told(placed, reasons=reasons, rejected_ms=now_ms)
        placed = self._place_ignored(where, verdict.heartbeat_ms, now_ms)
        return self._told(placed)

    def _place_ignored(
        self, where: tuple[str, int], heartbeat_ms: int | None, now_ms: int
    ) -> Placed:
        if heartbeat_ms is None:
            return self._time.place(where, IGNORED, now_ms, now_ms)
        return self._time.place(where, HEARTBEAT, heartbeat_ms, now_ms)

    def _told(
        self,
        placed: Placed,
        change: _Change = _NO_CHANGE,
        reasons: str | None = None,
        rejected_ms: int | None = None,
    ) -> Row:
        """Return the verdict in the one row that there is: it is read before the next call."""
        self._row[:] = (
            placed.kind,
            placed.event_ms,
            placed.watermark_ms,
            *change,
            reasons,
            rejected_ms,
        )
        return self._row
