"""Row reconciliation of a batch: raw + labelled = accepted + rejected."""

from dataclasses import dataclass

ACCEPTED, REJECTED = "accepted", "rejected"
"""The two values of the column `verdict`."""


@dataclass(frozen=True, slots=True)
class RowReconciliation:
    """Row counts of one batch; `labelled` rows came from the stream, `raw` rows from the source."""

    raw: int
    accepted: int
    rejected: int
    labelled: int = 0

    @property
    def missing(self) -> int:
        """Received rows that are neither accepted nor rejected; negative if there are too many."""
        return self.raw + self.labelled - self.accepted - self.rejected

    @property
    def balanced(self) -> bool:
        """Whether every row is accepted or rejected once."""
        return self.missing == 0

    def __str__(self) -> str:
        labelled = f" + labelled {self.labelled}" if self.labelled else ""
        equation = f"raw {self.raw}{labelled} = accepted {self.accepted} + rejected {self.rejected}"
        if self.balanced:
            return equation
        problem = "missing" if self.missing > 0 else "too many"
        return f"not {equation}: {abs(self.missing)} {problem}"
