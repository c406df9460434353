"""The share of a batch's rows that cleaning rejects, with the reasons. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Level = Literal["passed", "warning", "error"]
_MAX_REASONS = 5


@dataclass(frozen=True, slots=True)
class RejectedRows:
    """Row counts of a batch; `reasons` counts rows by reason, the most frequent first.

    A row with two reasons counts for both.
    """

    accepted: int
    rejected: int
    reasons: Mapping[str, int]

    @property
    def share(self) -> float:
        """The share of rejected rows, 0 to 1; 0 for a batch without rows."""
        return self.rejected / max(self.accepted + self.rejected, 1)

    def level(self, *, warn_above: float, block_above: float) -> Level:
        """Return the level that a share beyond these limits reaches."""
        if self.share > block_above:
            return "error"
        return "warning" if self.share > warn_above else "passed"

    def __str__(self) -> str:
        rows = self.accepted + self.rejected
        text = f"{rows} rows: {self.accepted} accepted, {self.rejected} rejected"
        if not self.reasons:
            return text
        most_frequent = list(self.reasons.items())[:_MAX_REASONS]
        counts = ", ".join(f"{reason} {count}" for reason, count in most_frequent)
        others = len(self.reasons) - len(most_frequent)
        return f"{text}: {counts}" + (f" and {others} more reasons" if others else "")
