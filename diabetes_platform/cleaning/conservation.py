"""Nothing vanishes: raw = accepted + rejected, and what is missing where that does not hold."""

from dataclasses import dataclass

ACCEPTED, REJECTED = "accepted", "rejected"
"""The verdict on a row; there is no third."""


@dataclass(frozen=True, slots=True)
class Conservation:
    """Row counts of one batch; `missing` rows vanished, a negative number appeared."""

    raw: int
    accepted: int
    rejected: int

    @property
    def missing(self) -> int:
        """Rows of the source that are neither accepted nor rejected."""
        return self.raw - self.accepted - self.rejected

    @property
    def holds(self) -> bool:
        """Whether every row is accounted for, once."""
        return self.missing == 0

    def __str__(self) -> str:
        sides = f"raw {self.raw} = accepted {self.accepted} + rejected {self.rejected}"
        if self.holds:
            return sides
        word = "missing" if self.missing > 0 else "too many"
        return f"not {sides}: {abs(self.missing)} {word}"
