"""A load run: its profile (rate, invalid and duplicate events) and its statistics. Pure.

`load_events` creates the events.
"""

import random
import re
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np

from diabetes_platform.contract.latency import STORED_STAGES, TOTAL

STAGES = (*STORED_STAGES, TOTAL)
"""The latency stages that a load run measures."""
TIMESTAMPS = tuple(dict.fromkeys(name for stage in STAGES for name in (stage.start, stage.end)))
"""The columns of a stored prediction that delimit the stages."""
_MAX_LATENCIES = 100_000
"""The maximum number of latencies kept per stage; a long run keeps only the newest."""
_SHARE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(%?)")


class EventKind(StrEnum):
    """The kinds of events that a load run sends."""

    PATIENT = "patient"
    INVALID = "invalid"
    DUPLICATE = "duplicate"


def parse_share(text: str) -> float:
    """Parse `2%` or `0.02`; ValueError with the allowed range."""
    match = _SHARE.fullmatch(text.strip())
    share = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 <= share < 1:
        raise ValueError(f"share is {text!r}; allowed: 0 to below 1, or 0% to below 100%")
    return share


@dataclass
class LoadProfile:
    """`rate` events a second for `seconds`, with the shares `invalid` and `duplicates`.

    The same seed gives the same sequence of kinds. Raises ValueError for values out of range.
    """

    rate: float
    seconds: float
    invalid: float
    duplicates: float
    seed: int
    _scheduled: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for name, value in (("rate", self.rate), ("seconds", self.seconds)):
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} is {value:g}; allowed: above 0")
        if self.invalid + self.duplicates >= 1:
            raise ValueError(
                f"invalid and duplicates are {self.invalid + self.duplicates:.0%} together; "
                "allowed: below 100%"
            )
        self._random = random.Random(self.seed)  # noqa: S311 - no secret

    def due(self, elapsed: float) -> Counter[EventKind]:
        """Return how many events of each kind became due since the last call.

        `elapsed` is in seconds since the start of the run.
        """
        total = int(self.rate * min(elapsed, self.seconds))
        kinds = Counter(self._draw_kind() for _ in range(total - self._scheduled))
        self._scheduled = max(self._scheduled, total)
        return kinds

    def _draw_kind(self) -> EventKind:
        draw = self._random.random()
        if draw < self.invalid:
            return EventKind.INVALID
        return EventKind.DUPLICATE if draw < self.invalid + self.duplicates else EventKind.PATIENT


class LoadStats:
    """Counts and latencies of a load run.

    `pending` holds the intake ids of the patients without a prediction.
    """

    def __init__(self) -> None:
        self.sent: Counter[EventKind] = Counter()
        self.pending: set[int] = set()
        self.predicted = 0
        self.rejected = 0
        self._milliseconds: dict[str, deque[float]] = {
            stage.name: deque(maxlen=_MAX_LATENCIES) for stage in STAGES
        }

    @property
    def complete(self) -> bool:
        """Whether every patient has a prediction and every invalid event was rejected."""
        return not self.pending and self.rejected >= self.sent[EventKind.INVALID]

    def add_prediction(self, intake_id: int, timestamps: Mapping[str, datetime]) -> None:
        """Count the first prediction of a patient of this run; any further one is ignored."""
        if intake_id not in self.pending:
            return
        self.pending.remove(intake_id)
        self.predicted += 1
        for stage in STAGES:
            latency = (timestamps[stage.end] - timestamps[stage.start]) / timedelta(milliseconds=1)
            self._milliseconds[stage.name].append(latency)

    def quantile(self, stage: str, share: float) -> float | None:
        """Return a quantile of a stage's latency in ms; None before the first prediction."""
        latencies = self._milliseconds[stage]
        return float(np.quantile(latencies, share)) if latencies else None
