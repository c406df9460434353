"""Whether the patients of late are still those that the model has learned from. Pure.

Two measures per field. The population stability index (PSI) compares shares of patients in bins of
the reference, with a bin of its own for "not measured"; the Kolmogorov-Smirnov distance (KS)
compares the distributions of what was measured, without bins.
"""

from dataclasses import dataclass

import numpy as np

from diabetes_platform.modelling.training_set import FloatArray

BINS = 10
FEWEST = 50
"""With fewer patients than this nothing is said of a field."""
SIGNIFICANT_PSI = 0.25
"""The usual limit above which a population counts as another one (Siddiqi, Credit Risk
Scorecards, 2006, ch. 8)."""
CONFIDENCE = 0.999
"""Many fields are looked at, and often."""


class DriftError(ValueError):
    """Nothing to compare with; the message names the field, given and allowed."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a field's recent values are from the reference, and how far they may be.

    `psi` is None where there are fewer than FEWEST recent patients, `ks` and `p_value` where none
    of them was measured. Shares are of patients in the bins whose inner edges are `edges`, in the
    field's unit, the last share of those without a measurement.
    """

    field: str
    reference: int
    recent: int
    limit: float
    psi: float | None
    ks: float | None
    p_value: float | None
    edges: tuple[float, ...]
    reference_shares: tuple[float, ...]
    recent_shares: tuple[float, ...]

    @property
    def enough(self) -> bool:
        """Whether there are patients enough to say something."""
        return self.psi is not None

    @property
    def drifted(self) -> bool:
        """Whether the recent patients count as another population in this field."""
        return self.psi is not None and self.psi > self.limit

    @property
    def text(self) -> str:
        """The verdict in one line."""
        if self.psi is None:
            return f"{self.field}: {self.recent} recent patients, {FEWEST} are needed to compare"
        said = "is not" if self.drifted else "is"
        return (
            f"{self.field} {said} distributed as in the training set: PSI {self.psi:.3f}, "
            f"allowed {self.limit:.3f} ({self.recent} recent patients)"
        )


def drift(field: str, reference: FloatArray, recent: FloatArray) -> Drift:
    """Compare a field's `recent` values (m,) with those of the `reference` (n,); NaN: not measured.

    Raises DriftError where the reference has no measured value.
    """
    measured = reference[~np.isnan(reference)]
    if not len(measured):
        raise DriftError(f"{field}: given a reference without a measured value, allowed at least 1")
    quantiles = np.quantile(measured, np.linspace(0, 1, BINS + 1)[1:-1], method="inverted_cdf")
    edges = np.unique(quantiles)
    before, now = _counts(reference, edges), _counts(recent, edges)
    ks, p_value = _kolmogorov_smirnov(measured, recent[~np.isnan(recent)])
    return Drift(
        field=field,
        reference=len(reference),
        recent=len(recent),
        limit=psi_limit(len(reference), len(recent), len(before)),
        psi=psi(before, now) if len(recent) >= FEWEST else None,
        ks=ks,
        p_value=p_value,
        edges=tuple(edges.tolist()),
        reference_shares=_shares(before),
        recent_shares=_shares(now),
    )


def psi(reference: FloatArray, recent: FloatArray) -> float:
    """Return the population stability index of two vectors of counts (bins,); 0: the same shares.

    Half a patient is added to each bin, so that an empty one gives no infinity.
    """
    before = (reference + 0.5) / (reference + 0.5).sum()
    now = (recent + 0.5) / (recent + 0.5).sum()
    return float(((now - before) * np.log(now / before)).sum())


def psi_limit(reference: int, recent: int, bins: int) -> float:
    """Return the PSI above which two samples of these sizes differ, and by enough to matter.

    Of two samples of one population it is distributed as (1/n + 1/m) times chi-squared with
    bins - 1 degrees of freedom (Yurdakul and Naranjo, Journal of Risk Model Validation 14(3),
    2020).
    """
    from scipy.stats import chi2

    if not recent:
        return SIGNIFICANT_PSI
    by_chance = float(chi2.ppf(CONFIDENCE, bins - 1)) * (1 / reference + 1 / recent)
    return max(SIGNIFICANT_PSI, by_chance)


def _counts(values: FloatArray, edges: FloatArray) -> FloatArray:
    """Count the values in (.., edge], (edge, edge], .., (edge, ..) and those not measured."""
    missing = np.isnan(values)
    bins = np.searchsorted(edges, values[~missing], side="left")
    counted = np.bincount(bins, minlength=len(edges) + 1)
    return np.append(counted, missing.sum()).astype(np.float64)


def _shares(counts: FloatArray) -> tuple[float, ...]:
    total = counts.sum()
    return tuple((counts / total if total else counts).tolist())


def _kolmogorov_smirnov(
    reference: FloatArray, recent: FloatArray
) -> tuple[float, float] | tuple[None, None]:
    from scipy.stats import ks_2samp

    if not len(recent):
        return None, None
    result = ks_2samp(reference, recent, method="asymp")
    return float(result.statistic), float(result.pvalue)
