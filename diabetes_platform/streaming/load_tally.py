"""What a load run has sent and what has come back: counts, and times of each hop. Pure."""

from collections import Counter, deque
from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np

from diabetes_platform.contract.latency import STORED_STAGES, TOTAL
from diabetes_platform.streaming.load_plan import Kind

HOPS = (*STORED_STAGES, TOTAL)
STAMPS = tuple(dict.fromkeys(stamp for hop in HOPS for stamp in (hop.start, hop.end)))
_MOST_TIMES = 100_000
"""Of a long run the newest count."""


class LoadTally:
    """Counts of a run; `waiting` are the patients without an answer."""

    def __init__(self) -> None:
        self.sent: Counter[Kind] = Counter()
        self.waiting: set[int] = set()
        self.answered = 0
        self.rejected = 0
        self._milliseconds: dict[str, deque[float]] = {
            hop.name: deque(maxlen=_MOST_TIMES) for hop in HOPS
        }

    @property
    def complete(self) -> bool:
        """Whether each patient has an answer, and each invalid event is among the rejected."""
        return not self.waiting and self.rejected >= self.sent[Kind.INVALID]

    def answer(self, intake_id: int, stamps: Mapping[str, datetime]) -> None:
        """Take in the first prediction of a patient of this run; a further one changes nothing."""
        if intake_id not in self.waiting:
            return
        self.waiting.remove(intake_id)
        self.answered += 1
        for hop in HOPS:
            took = (stamps[hop.end] - stamps[hop.start]) / timedelta(milliseconds=1)
            self._milliseconds[hop.name].append(took)

    def quantile(self, hop: str, share: float) -> float | None:
        """Return a quantile of a hop's time in milliseconds; None before the first answer."""
        times = self._milliseconds[hop]
        return float(np.quantile(times, share)) if times else None
