"""What is sent when: rate, and how many of the events are broken or sent twice. Pure functions."""

import random
import re
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

_SHARE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(%?)")


class Kind(StrEnum):
    """What one event is."""

    PATIENT = "patient"
    INVALID = "invalid"
    DUPLICATE = "duplicate"


def read_share(text: str) -> float:
    """Read `2%` or `0.02`; ValueError that says what is allowed."""
    found = _SHARE.fullmatch(text.strip())
    value = float(found[1]) / (100 if found[2] else 1) if found else -1.0
    if not 0 <= value < 1:
        raise ValueError(f"given {text!r}, allowed 0 to below 1, or 0% to below 100%")
    return value


@dataclass
class LoadPlan:
    """`rate` events a second for `seconds`, of which the shares `invalid` and `duplicates`.

    The same seed gives the same order of kinds. Raises ValueError for what is not allowed.
    """

    rate: float
    seconds: float
    invalid: float
    duplicates: float
    seed: int
    _planned: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for name, value in (("rate", self.rate), ("seconds", self.seconds)):
            if not 0 < value < float("inf"):
                raise ValueError(f"{name}: given {value:g}, allowed above 0")
        if self.invalid + self.duplicates >= 1:
            raise ValueError(
                f"invalid and duplicates: given {self.invalid + self.duplicates:.0%} together, "
                "allowed below 100%"
            )
        self._random = random.Random(self.seed)  # noqa: S311 - no secret

    def due(self, elapsed: float) -> Counter[Kind]:
        """Return how many of each kind are due `elapsed` seconds after the start, sent before not.

        Whoever comes late gets all that is due since.
        """
        until = int(self.rate * min(elapsed, self.seconds))
        kinds = Counter(self._kind() for _ in range(until - self._planned))
        self._planned = max(self._planned, until)
        return kinds

    def _kind(self) -> Kind:
        drawn = self._random.random()
        if drawn < self.invalid:
            return Kind.INVALID
        return Kind.DUPLICATE if drawn < self.invalid + self.duplicates else Kind.PATIENT
