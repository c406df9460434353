"""The share of a batch's rows that cleaning rejects, with the reasons. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Level = Literal["passed", "warning", "error"]
MIN_LOST_ROWS = 5
"""Fewer rejected rows never stop a batch that has accepted rows."""
_MAX_REASONS = 5


@dataclass(frozen=True, slots=True)
class RejectedRows:
    """Row counts of a batch; `reasons` counts rows by reason, the most frequent first.

    A row with two reasons counts for both. `duplicates` counts the rejected rows that only repeat
    another row: nothing is lost with them.
    """

    accepted: int
    rejected: int
    reasons: Mapping[str, int]
    duplicates: int = 0

    @property
    def share(self) -> float:
        """The share of rejected rows, 0 to 1; 0 for a batch without rows."""
        return self.rejected / self._rows

    @property
    def lost(self) -> int:
        """The number of rejected rows that do not only repeat another row."""
        return self.rejected - self.duplicates

    @property
    def lost_share(self) -> float:
        """The share of lost rows, 0 to 1; 0 for a batch without rows."""
        return self.lost / self._rows

    def level(self, *, warn_above: float, block_above: float) -> Level:
        """Return the level of a batch: rejected rows warn, lost rows stop it."""
        enough_to_block = self.lost >= MIN_LOST_ROWS or not self.accepted
        if enough_to_block and self.lost_share > block_above:
            return "error"
        return "warning" if self.share > warn_above else "passed"

    @property
    def _rows(self) -> int:
        return max(self.accepted + self.rejected, 1)

    def __str__(self) -> str:
        rows = self.accepted + self.rejected
        text = f"{rows} rows: {self.accepted} accepted, {self.rejected} rejected"
        if not self.reasons:
            return text
        most_frequent = list(self.reasons.items())[:_MAX_REASONS]
        counts = [f"{reason} {count}" for reason, count in most_frequent]
        if (others := len(self.reasons) - len(most_frequent)) > 0:
            counts.append("1 other reason" if others == 1 else f"{others} other reasons")
        return f"{text}: {', '.join(counts)}"
