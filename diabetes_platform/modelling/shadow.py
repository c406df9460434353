"""What a challenger would have answered live patients, beside what the champion answers. Pure."""

from dataclasses import dataclass

import numpy as np

from diabetes_platform.modelling.training_set import FloatArray

FEWEST = 30
"""With fewer live patients nothing is said of them all."""
MEAN_SHIFT = 0.1
CHANGED_SHARE = 0.2
"""The mean risk, 0 to 1, may move by so much, and so large a share of the patients may get another
result, when the challenger takes over. Two models that learn from random halves of the Pima data
differ in 8 to 15 % of the results and by up to 0.06 in mean risk (six draws)."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """Both models' answers to the same patients, compared. Shares and means are 0 to 1.

    `mean_shift` and `largest` are challenger less champion; None without patients.
    """

    patients: int
    champion_mean: float | None
    challenger_mean: float | None
    changed: int
    largest: float | None

    @property
    def enough(self) -> bool:
        """Whether there are patients enough to judge."""
        return self.patients >= FEWEST

    @property
    def mean_shift(self) -> float:
        """How far the mean risk moves."""
        return (self.challenger_mean or 0.0) - (self.champion_mean or 0.0)

    @property
    def changed_share(self) -> float:
        """The share of patients who would get another result."""
        return self.changed / self.patients if self.patients else 0.0

    @property
    def plausible(self) -> bool:
        """Whether nobody need look before the challenger takes over."""
        moved = abs(self.mean_shift) > MEAN_SHIFT or self.changed_share > CHANGED_SHARE
        return not (self.enough and moved)

    @property
    def text(self) -> str:
        """The verdict in one line."""
        if not self.enough:
            return f"{self.patients} live patients: not judged below {FEWEST}"
        return (
            f"{self.patients} live patients: mean risk {self.champion_mean:.3f} by the champion, "
            f"{self.challenger_mean:.3f} by the challenger (allowed {MEAN_SHIFT} apart); another "
            f"result for {self.changed_share:.0%} of them (allowed {CHANGED_SHARE:.0%})"
        )


def compare(
    champion: FloatArray,
    challenger: FloatArray,
    *,
    champion_threshold: float,
    challenger_threshold: float,
) -> Shadow:
    """Compare the probabilities, each (patients,), that two models give the same patients."""
    if not len(champion):
        return Shadow(0, None, None, 0, None)
    changed = (champion >= champion_threshold) != (challenger >= challenger_threshold)
    return Shadow(
        patients=len(champion),
        champion_mean=float(champion.mean()),
        challenger_mean=float(challenger.mean()),
        changed=int(changed.sum()),
        largest=float(np.abs(challenger - champion).max()),
    )
