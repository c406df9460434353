"""The job's one Python function: each message judged, placed in event time and counted."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson
from pyflink.common import Row, Types
from pyflink.datastream import ProcessFunction, RuntimeContext

from diabetes_platform.contract.fields import FEATURE_NAMES
from flink.patients.event_time import EventTime, Placed
from flink.patients.judging import judge
from flink.patients.verdicts import (
    ACCEPTED,
    DELETED,
    HEARTBEAT,
    IGNORED,
    LATE,
    REJECTED,
    Accepted,
    Received,
    Rejected,
)

BYTES = Types.PRIMITIVE_ARRAY(Types.BYTE())
RECEIVED_TYPE = Types.ROW_NAMED(
    ["key", "value", "topic", "partition", "offset"],
    [BYTES, BYTES, Types.STRING(), Types.INT(), Types.LONG()],
)
JUDGED: dict[str, Any] = {
    "kind": Types.STRING(),
    "event_ms": Types.LONG(),
    "watermark_ms": Types.LONG(),
    "id": Types.LONG(),
    "lsn": Types.LONG(),
    "image": BYTES,
    "key": BYTES,
    "value": BYTES,
    "reasons": Types.STRING(),
    "topic": Types.STRING(),
    "partition": Types.INT(),
    "offset": Types.LONG(),
    "rejected_ms": Types.LONG(),
    **dict.fromkeys(FEATURE_NAMES, Types.DOUBLE()),
}
"""A judged message: image and features of an accepted one, the original of a rejected one."""
JUDGED_TYPE = Types.ROW_NAMED(list(JUDGED), list(JUDGED.values()))
_NO_CHANGE = (None, None, None)
_NO_ORIGINAL = (None,) * 7
_NO_FEATURES = (None,) * len(FEATURE_NAMES)


@dataclass(frozen=True, slots=True)
class Windows:
    """How event time goes, in milliseconds; see `EventTime`."""

    length_ms: int = 60_000
    lateness_ms: int = 10_000
    idle_ms: int = 30_000


class Judge(ProcessFunction):  # type: ignore[misc]
    """From `RECEIVED_TYPE` to `JUDGED_TYPE`; what is ignored leaves no row, but a heartbeat."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    def open(self, runtime_context: RuntimeContext) -> None:
        """Make what belongs to this subtask: its event time and its counters."""
        given = self._windows
        now_ms = time.time_ns() // 1_000_000
        self._time = EventTime(given.length_ms, given.lateness_ms, given.idle_ms, now_ms)
        group = runtime_context.get_metrics_group()
        self._received, self._accepted, self._rejected, self._ignored, self._late = (
            group.counter(name) for name in COUNTERS
        )

    def process_element(self, value: Row, ctx: ProcessFunction.Context) -> Iterator[Row]:  # noqa: ARG002 - Flink's signature
        """Yield the row of one message."""
        key, content, topic, partition, offset = value
        now_ms = time.time_ns() // 1_000_000
        self._received.inc()
        verdict = judge(Received(key, content, topic), now_ms)
        where = (topic, partition)
        if isinstance(verdict, Accepted):
            yield self._accept(verdict, where, now_ms)
        elif isinstance(verdict, Rejected):
            self._rejected.inc()
            placed = self._time.place(where, REJECTED, now_ms, now_ms)
            reasons = orjson.dumps(verdict.reasons).decode()
            original = (key, content, reasons, topic, partition, offset, now_ms)
            yield _row(placed, _NO_CHANGE, original, _NO_FEATURES)
        else:
            self._ignored.inc()
            if verdict.heartbeat_ms is not None:
                placed = self._time.place(where, HEARTBEAT, verdict.heartbeat_ms, now_ms)
                yield _row(placed, _NO_CHANGE, _NO_ORIGINAL, _NO_FEATURES)

    def _accept(self, verdict: Accepted, where: tuple[str, int], now_ms: int) -> Row:
        self._accepted.inc()
        kind = DELETED if verdict.image is None else ACCEPTED
        placed = self._time.place(where, kind, verdict.changed_ms, now_ms)
        if placed.kind == LATE:
            self._late.inc()
        features = tuple(None if each is None else float(each) for each in verdict.features)
        change = (verdict.id, verdict.lsn, verdict.image)
        return _row(placed, change, _NO_ORIGINAL, features or _NO_FEATURES)


def _row(placed: Placed, *parts: tuple[Any, ...]) -> Row:
    head = (placed.kind, placed.event_ms, placed.watermark_ms)
    return Row(*head, *chain.from_iterable(parts))


COUNTERS = ("received", ACCEPTED, REJECTED, IGNORED, LATE)
"""Flink's counters of this function, of the messages since the subtask was started."""
