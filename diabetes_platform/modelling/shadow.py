"""The shadow comparison: predictions of challenger and champion for live patients. Pure."""

from dataclasses import dataclass

import numpy as np

from diabetes_platform.modelling.training_set import FloatArray

MIN_PATIENTS = 30
"""With fewer live patients the comparison is inconclusive."""
MEAN_SHIFT = 0.1
CHANGED_SHARE = 0.2
"""Limits of the change in mean risk (0 to 1) and of the share of patients whose result changes. Two
models trained on random halves of the Pima data differ in 8 to 15 % of the results and by up to
0.06 in mean risk (six draws)."""


@dataclass(frozen=True, slots=True)
class ShadowComparison:
    """Two models' predictions for the same patients. Shares and means are 0 to 1.

    `changed` counts the patients with another result; `max_difference` is the largest absolute
    difference of two probabilities. Means and difference are None without patients. `not_compared`
    is the reason why no patient was scored.
    """

    patients: int = 0
    champion_mean: float | None = None
    challenger_mean: float | None = None
    changed: int = 0
    max_difference: float | None = None
    not_compared: str | None = None

    @property
    def conclusive(self) -> bool:
        """Whether there are enough patients."""
        return self.patients >= MIN_PATIENTS

    @property
    def mean_shift(self) -> float:
        """Mean risk of the challenger minus that of the champion."""
        return (self.challenger_mean or 0.0) - (self.champion_mean or 0.0)

    @property
    def changed_share(self) -> float:
        """The share of patients whose result changes."""
        return self.changed / self.patients if self.patients else 0.0

    @property
    def plausible(self) -> bool:
        """Whether the challenger may be released without a review by a person."""
        exceeds_limits = abs(self.mean_shift) > MEAN_SHIFT or self.changed_share > CHANGED_SHARE
        return not (self.conclusive and exceeds_limits)

    @property
    def text(self) -> str:
        """The result in one line."""
        if self.not_compared is not None:
            return f"Nothing to compare: {self.not_compared}"
        if not self.conclusive:
            return f"{self.patients} live patients: inconclusive below {MIN_PATIENTS}"
        return (
            f"{self.patients} live patients: mean risk {self.champion_mean:.3f} by the champion, "
            f"{self.challenger_mean:.3f} by the challenger (allowed difference {MEAN_SHIFT}); the "
            f"result changes for {self.changed_share:.0%} of them (allowed {CHANGED_SHARE:.0%})"
        )


def compare_predictions(
    champion: FloatArray,
    challenger: FloatArray,
    *,
    champion_threshold: float,
    challenger_threshold: float,
) -> ShadowComparison:
    """Compare the probabilities, each (patients,), of two models for the same patients."""
    if not len(champion):
        return ShadowComparison()
    changed = (champion >= champion_threshold) != (challenger >= challenger_threshold)
    return ShadowComparison(
        patients=len(champion),
        champion_mean=float(champion.mean()),
        challenger_mean=float(challenger.mean()),
        changed=int(changed.sum()),
        max_difference=float(np.abs(challenger - champion).max()),
    )
