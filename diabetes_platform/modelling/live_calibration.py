"""Live calibration: predicted risks compared with outcomes confirmed later. Pure."""

from dataclasses import dataclass

import numpy as np

from diabetes_platform.modelling.evaluation_metrics import brier
from diabetes_platform.modelling.training_set import FloatArray, IntArray

MIN_OUTCOMES = 100
MIN_OUTCOMES_PER_CLASS = 10
"""With fewer outcomes the result is inconclusive. A calibration curve needs 100 positives and 100
negatives (Van Calster et al., Journal of Clinical Epidemiology 74, 2016), a mean needs fewer."""
TOLERANCE = 0.05
"""The difference of mean predicted and observed risk (0 to 1) that is allowed, even if significant.
"""
SEVERE_DIFFERENCE = 0.15
Z_LIMIT = 3.29
"""Two-sided 99.9 %, because the check runs hourly."""
_BINS = 10


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """A tenth of the predictions: number of patients, mean predicted risk, observed share."""

    patients: int
    predicted: float
    observed: float


@dataclass(frozen=True, slots=True)
class LiveCalibration:
    """Calibration metrics; the numbers are None without outcomes.

    `in_the_large` is observed minus predicted mean risk, and `z` is this difference in standard
    errors under perfect calibration. `spiegelhalter_z` is the z of the Brier score (Spiegelhalter,
    Statistics in Medicine 5, 1986). `expected_error` is the weighted mean distance of the bins from
    the diagonal.
    """

    outcomes: int = 0
    positives: int = 0
    brier: float | None = None
    predicted: float | None = None
    observed: float | None = None
    z: float | None = None
    spiegelhalter_z: float | None = None
    expected_error: float | None = None
    bins: tuple[CalibrationBin, ...] = ()

    @property
    def conclusive(self) -> bool:
        """Whether there are enough outcomes of each class."""
        smaller_class = min(self.positives, self.outcomes - self.positives)
        return self.outcomes >= MIN_OUTCOMES and smaller_class >= MIN_OUTCOMES_PER_CLASS

    @property
    def in_the_large(self) -> float | None:
        """Observed minus predicted mean risk: above 0 the predicted risks are too low."""
        if self.observed is None or self.predicted is None:
            return None
        return self.observed - self.predicted

    @property
    def miscalibrated(self) -> bool:
        """Whether the mean risk is wrong, both significantly and by more than the tolerance."""
        significant = self.conclusive and abs(self.z or 0.0) > Z_LIMIT
        return significant and abs(self.in_the_large or 0.0) > TOLERANCE

    @property
    def severely_miscalibrated(self) -> bool:
        """Whether the mean risk is wrong by so much that nobody should rely on the model."""
        return self.miscalibrated and abs(self.in_the_large or 0.0) > SEVERE_DIFFERENCE

    @property
    def text(self) -> str:
        """The result in one line."""
        if not self.conclusive:
            return (
                f"{self.outcomes} confirmed outcomes, {self.positives} of them ill: inconclusive; "
                f"the check needs {MIN_OUTCOMES}, and {MIN_OUTCOMES_PER_CLASS} of each outcome"
            )
        verb = "are not" if self.miscalibrated else "are"
        return (
            f"risks {verb} calibrated in the large: {self.predicted:.3f} predicted, "
            f"{self.observed:.3f} observed, allowed difference {TOLERANCE} "
            f"({self.outcomes} outcomes, Brier {self.brier:.3f}, "
            f"expected calibration error {self.expected_error:.3f})"
        )


def measure_live_calibration(probabilities: FloatArray, outcomes: IntArray) -> LiveCalibration:
    """Compare predicted probabilities (n,), 0 to 1, with confirmed outcomes (n,), 0 or 1."""
    count, positives = len(outcomes), int(outcomes.sum())
    if not count:
        return LiveCalibration()
    p, y = probabilities, outcomes.astype(np.float64)
    spread = p * (1 - p)
    bins = calibration_bins(p, y)
    return LiveCalibration(
        outcomes=count,
        positives=positives,
        brier=float(brier(p, outcomes, np.ones((1, count)))[0]),
        predicted=float(p.mean()),
        observed=float(y.mean()),
        z=_ratio((y - p).sum(), spread.sum()),
        spiegelhalter_z=_ratio(((y - p) * (1 - 2 * p)).sum(), ((1 - 2 * p) ** 2 * spread).sum()),
        expected_error=sum(b.patients * abs(b.predicted - b.observed) for b in bins) / count,
        bins=bins,
    )


def _ratio(total: float, variance: float) -> float | None:
    """Return a sum in standard errors; None if its variance is 0 (all risks are 0, 1 or ½)."""
    return float(total / np.sqrt(variance)) if variance > 0 else None


def calibration_bins(p: FloatArray, y: FloatArray | IntArray) -> tuple[CalibrationBin, ...]:
    """Return ten bins of equal size in the order of predicted risk `p` (n,) for outcomes `y`."""
    parts = np.array_split(np.argsort(p, kind="stable"), _BINS)
    return tuple(
        CalibrationBin(len(part), float(p[part].mean()), float(y[part].mean()))
        for part in parts
        if len(part)
    )
