"""Predicted risks against outcomes that were confirmed later: is the model still right? Pure."""

from dataclasses import dataclass

import numpy as np

from diabetes_platform.modelling.metrics import brier
from diabetes_platform.modelling.training_set import FloatArray, IntArray

FEWEST = 100
FEWEST_OF_EACH = 10
"""With fewer outcomes, or fewer of one kind, nothing is said. A calibration curve wants 100 ill and
100 healthy (Van Calster et al., Journal of Clinical Epidemiology 74, 2016), a mean fewer."""
TOLERATED = 0.05
"""Mean predicted and observed risk may differ by so much, 0 to 1, however surely they do."""
SEVERE = 0.15
Z_LIMIT = 3.29
"""Two-sided 99.9 %: it is looked at hourly."""
_BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Patients of a tenth of the predictions: mean predicted risk, share with the disease."""

    patients: int
    predicted: float
    observed: float


@dataclass(frozen=True, slots=True)
class LiveCalibration:
    """How risks met outcomes. Numbers are None where there are no outcomes at all.

    `in_the_large` is observed less predicted mean risk; `z` the same in standard errors, were
    every risk right; `spiegelhalter_z` that of the Brier score (Spiegelhalter, Statistics in
    Medicine 5, 1986); `expected_error` the mean distance of the bins from the diagonal, weighted.
    """

    outcomes: int
    ill: int
    brier: float | None
    predicted: float | None
    observed: float | None
    z: float | None
    spiegelhalter_z: float | None
    expected_error: float | None
    bins: tuple[Bin, ...]

    @property
    def enough(self) -> bool:
        """Whether there are outcomes enough to judge."""
        fewer = min(self.ill, self.outcomes - self.ill)
        return self.outcomes >= FEWEST and fewer >= FEWEST_OF_EACH

    @property
    def in_the_large(self) -> float | None:
        """Observed less predicted mean risk: above 0 the risks are too low."""
        if self.observed is None or self.predicted is None:
            return None
        return self.observed - self.predicted

    @property
    def off(self) -> bool:
        """Whether the risks are wrong on the whole: not by chance, and by enough to matter."""
        if not self.enough or self.z is None or self.in_the_large is None:
            return False
        return abs(self.z) > Z_LIMIT and abs(self.in_the_large) > TOLERATED

    @property
    def severe(self) -> bool:
        """Whether they are wrong by so much that nobody should rely on them."""
        return self.off and abs(self.in_the_large or 0.0) > SEVERE

    @property
    def text(self) -> str:
        """The verdict in one line."""
        if not self.enough:
            return (
                f"{self.outcomes} confirmed outcomes, {self.ill} of them ill: not judged; needed "
                f"are {FEWEST}, and {FEWEST_OF_EACH} of each kind"
            )
        said = "are not" if self.off else "are"
        return (
            f"risks {said} calibrated on the whole: {self.predicted:.3f} predicted, "
            f"{self.observed:.3f} observed, allowed {TOLERATED} apart ({self.outcomes} outcomes, "
            f"Brier {self.brier:.3f}, expected calibration error {self.expected_error:.3f})"
        )


def live_calibration(probabilities: FloatArray, outcomes: IntArray) -> LiveCalibration:
    """Judge probabilities (n,), 0 to 1, by the outcomes (n,) of 0 and 1 that came true."""
    count, ill = len(outcomes), int(outcomes.sum())
    if not count:
        return LiveCalibration(0, 0, None, None, None, None, None, None, ())
    p, y = probabilities, outcomes.astype(np.float64)
    spread = p * (1 - p)
    bins = _bins(p, y)
    return LiveCalibration(
        outcomes=count,
        ill=ill,
        brier=float(brier(p, outcomes, np.ones((1, count)))[0]),
        predicted=float(p.mean()),
        observed=float(y.mean()),
        z=_ratio((y - p).sum(), spread.sum()),
        spiegelhalter_z=_ratio(((y - p) * (1 - 2 * p)).sum(), ((1 - 2 * p) ** 2 * spread).sum()),
        expected_error=sum(b.patients * abs(b.predicted - b.observed) for b in bins) / count,
        bins=bins,
    )


def _ratio(total: float, variance: float) -> float | None:
    """Return a sum in standard errors; None where it cannot vary: all risks are 0 or 1, or ½."""
    return float(total / np.sqrt(variance)) if variance > 0 else None


def _bins(p: FloatArray, y: FloatArray) -> tuple[Bin, ...]:
    """Return bins of equally many patients, in the order of their risk."""
    parts = np.array_split(np.argsort(p, kind="stable"), _BINS)
    return tuple(
        Bin(len(part), float(p[part].mean()), float(y[part].mean())) for part in parts if len(part)
    )
