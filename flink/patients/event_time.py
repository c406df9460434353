"""Event time of one subtask: its watermark, and the window in which a message counts. Pure.

Flink's sources compute watermarks from the messages that they decode, and here the source only sees
bytes. So the job computes the watermark by Flink's rule: the newest time of the slowest partition
that is not idle, minus the allowed lateness.
"""

from dataclasses import dataclass, field

import msgspec

from flink.patients.messages import HEARTBEAT, IGNORED, LATE, REJECTED

_WITHOUT_EVENT_TIME = frozenset({REJECTED, IGNORED})

Partition = tuple[str, int]
"""Topic and partition number."""


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """Length of a window, allowed lateness, and silence after which a partition is idle [ms]."""

    length_ms: int = 60_000
    lateness_ms: int = 10_000
    idle_ms: int = 30_000


class TimedMessage(msgspec.Struct, frozen=True, gc=False):
    """The kind as which a message is counted, its event time, and the watermark after it."""

    kind: str
    event_ms: int
    watermark_ms: int


@dataclass(slots=True)
class EventTime:
    """The progress of the partitions that one subtask reads; all times in milliseconds.

    A partition without a message for `idle_ms` does not hold back the watermark. For `idle_ms`
    after the start no window closes, because some partitions may not have delivered messages yet.
    """

    windows: WindowOptions
    started_ms: int
    watermark_ms: int = 0
    _partitions: dict[Partition, tuple[int, int]] = field(default_factory=dict)
    """The newest event time of each partition, and the clock time of its last message."""

    def assign(self, partition: Partition, kind: str, event_ms: int, now_ms: int) -> TimedMessage:
        """Return kind and event time as which a message is counted; advance the watermark.

        `event_ms` is the message's own time. A message whose window has closed is late and counts
        in the window that is open. Rejected and ignored messages have no reliable time, so they
        count at their partition's newest time.
        """
        if kind in _WITHOUT_EVENT_TIME:
            newest_ms = self._partitions.get(partition, (now_ms, 0))[0]
            return TimedMessage(kind, max(newest_ms, self.watermark_ms), self.watermark_ms)
        window_end_ms = event_ms - event_ms % self.windows.length_ms + self.windows.length_ms
        late = window_end_ms <= self.watermark_ms
        counted_ms = self.watermark_ms if late else event_ms
        self._advance(partition, event_ms, now_ms)
        counted_kind = LATE if late and kind != HEARTBEAT else kind
        return TimedMessage(counted_kind, counted_ms, self.watermark_ms)

    def _advance(self, partition: Partition, event_ms: int, now_ms: int) -> None:
        newest_ms, received_ms = self._partitions.get(partition, (0, 0))
        if event_ms <= newest_ms and now_ms == received_ms:
            return  # most messages of a backlog change nothing
        self._partitions[partition] = (max(newest_ms, event_ms), now_ms)
        if now_ms - self.started_ms < self.windows.idle_ms:
            return
        active_since = now_ms - self.windows.idle_ms
        slowest_ms = min(
            newest_ms
            for newest_ms, received_ms in self._partitions.values()
            if received_ms >= active_since
        )
        self.watermark_ms = max(self.watermark_ms, slowest_ms - self.windows.lateness_ms)
