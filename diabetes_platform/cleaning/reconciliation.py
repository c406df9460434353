"""Row reconciliation of a batch: raw + labelled = accepted + rejected."""

from dataclasses import dataclass

ACCEPTED, REJECTED = "accepted", "rejected"
"""The verdict on a row; there is no third."""


@dataclass(frozen=True, slots=True)
class Conservation:
    """Row counts of one batch; `missing` rows vanished, a negative number appeared.

    `labelled` rows came by the stream, beside the source's.
    """

    raw: int
    accepted: int
    rejected: int
    labelled: int = 0

    @property
    def missing(self) -> int:
        """Rows received that are neither accepted nor rejected."""
        return self.raw + self.labelled - self.accepted - self.rejected

    @property
    def holds(self) -> bool:
        """Whether every row is accounted for, once."""
        return self.missing == 0

    def __str__(self) -> str:
        labelled = f" + labelled {self.labelled}" if self.labelled else ""
        sides = f"raw {self.raw}{labelled} = accepted {self.accepted} + rejected {self.rejected}"
        if self.holds:
            return sides
        word = "missing" if self.missing > 0 else "too many"
        return f"not {sides}: {abs(self.missing)} {word}"
