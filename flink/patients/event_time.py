"""How far the stream is in event time, and which window a message belongs to. Pure, one a subtask.

Flink's own watermarks follow whatever its source can tell of a message, which is bytes here. So
they are told here, by the same rule: as far as the slowest partition that is not idle, less the
lateness that is allowed.
"""

from dataclasses import dataclass, field

import msgspec

from flink.patients.verdicts import HEARTBEAT, IGNORED, LATE, REJECTED

_TIMELESS = frozenset({REJECTED, IGNORED})


@dataclass(frozen=True, slots=True)
class Windows:
    """How event time goes, in milliseconds; see `EventTime`."""

    length_ms: int = 60_000
    lateness_ms: int = 10_000
    idle_ms: int = 30_000


class Placed(msgspec.Struct, frozen=True, gc=False):
    """A message in event time: as what it counts, when, and how far the stream is then."""

    kind: str
    event_ms: int
    watermark_ms: int


@dataclass(slots=True)
class EventTime:
    """The progress of the partitions that one subtask reads; all times in milliseconds.

    A partition that said nothing for `idle_ms` is not waited for. Until as much time has passed
    since the start, some may not have been heard, so that no window closes.
    """

    window_ms: int
    lateness_ms: int
    idle_ms: int
    started_ms: int
    watermark_ms: int = 0
    _partitions: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    """By topic and partition: newest event time, when it was heard."""

    def place(self, where: tuple[str, int], kind: str, at_ms: int, now_ms: int) -> Placed:
        """Return where a message of `kind` counts, whose own time is `at_ms`, and move on.

        One whose window has closed is late, and counts in the window that is open now. A rejected
        message may say anything of its time, or nothing, an ignored one says nothing: such counts
        where its partition is, or now.
        """
        if kind in _TIMELESS:
            newest = self._partitions.get(where, (now_ms, 0))[0]
            return Placed(kind, max(newest, self.watermark_ms), self.watermark_ms)
        end = at_ms - at_ms % self.window_ms + self.window_ms
        late = end <= self.watermark_ms
        event_ms = self.watermark_ms if late else at_ms
        self._advance(where, at_ms, now_ms)
        told = LATE if late and kind != HEARTBEAT else kind
        return Placed(told, event_ms, self.watermark_ms)

    def _advance(self, where: tuple[str, int], at_ms: int, now_ms: int) -> None:
        newest, heard_ms = self._partitions.get(where, (0, 0))
        if at_ms <= newest and now_ms == heard_ms:
            return  # nothing is new: most messages of a backlog
        self._partitions[where] = (max(newest, at_ms), now_ms)
        if now_ms - self.started_ms < self.idle_ms:
            return
        heard = now_ms - self.idle_ms
        slowest = min(newest for newest, at in self._partitions.values() if at >= heard)
        self.watermark_ms = max(self.watermark_ms, slowest - self.lateness_ms)
