"""Data drift of a field: recent patients compared with the training set. Pure.

Two measures: the population stability index (PSI) compares shares of patients in bins of the
reference, with a separate bin for missing values; the Kolmogorov-Smirnov distance (KS) compares the
distributions of the measured values, without bins.
"""

from dataclasses import dataclass

import numpy as np

from diabetes_platform.modelling.training_set import FloatArray

BINS = 10
MIN_RECENT_PATIENTS = 50
"""With fewer recent patients the comparison is inconclusive."""
SIGNIFICANT_PSI = 0.25
"""The usual limit above which a population has shifted (Siddiqi, Credit Risk Scorecards, 2006,
ch. 8)."""
CONFIDENCE = 0.999
"""High, because many fields are tested, and often."""


@dataclass(frozen=True, slots=True)
class FieldDrift:
    """The distance between a field's recent and reference values, and the allowed PSI.

    `psi` is None with fewer than MIN_RECENT_PATIENTS recent patients, or if the reference is older
    than the field and has no measured value. `ks` and `p_value` are None if either side has no
    measured value. The shares are those of patients per bin, the last one that of missing values;
    `edges` are the inner edges of the bins, in the field's unit.
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
    def conclusive(self) -> bool:
        """Whether there are enough recent patients and measured reference values."""
        return self.psi is not None

    @property
    def drifted(self) -> bool:
        """Whether the PSI exceeds its limit."""
        return self.psi is not None and self.psi > self.limit

    @property
    def text(self) -> str:
        """The result in one line."""
        if self.reference_shares[-1] == 1:
            return f"{self.field}: not measured in the training set"
        if self.psi is None:
            return (
                f"{self.field}: {self.recent} recent patients; a comparison needs "
                f"{MIN_RECENT_PATIENTS}"
            )
        verb = "is not" if self.drifted else "is"
        return (
            f"{self.field} {verb} distributed as in the training set: PSI {self.psi:.3f}, "
            f"allowed {self.limit:.3f} ({self.recent} recent patients)"
        )


def measure_drift(field: str, reference: FloatArray, recent: FloatArray) -> FieldDrift:
    """Compare a field's `recent` values (m,) with the `reference` (n,); NaN is a missing value."""
    from scipy.stats import ks_2samp

    measured, recent_measured = (values[~np.isnan(values)] for values in (reference, recent))
    edges = np.empty(0)
    if len(measured):
        quantiles = np.linspace(0, 1, BINS + 1)[1:-1]
        edges = np.unique(np.quantile(measured, quantiles, method="inverted_cdf"))
    conclusive = len(recent) >= MIN_RECENT_PATIENTS and len(measured) > 0
    reference_counts, recent_counts = _bin_counts(reference, edges), _bin_counts(recent, edges)
    ks: float | None = None
    p_value: float | None = None
    if len(measured) and len(recent_measured):
        result = ks_2samp(measured, recent_measured, method="asymp")
        ks, p_value = float(result.statistic), float(result.pvalue)
    return FieldDrift(
        field=field,
        reference=len(reference),
        recent=len(recent),
        limit=psi_limit(len(reference), len(recent), len(reference_counts)),
        psi=psi(reference_counts, recent_counts) if conclusive else None,
        ks=ks,
        p_value=p_value,
        edges=tuple(edges.tolist()),
        reference_shares=_shares(reference_counts),
        recent_shares=_shares(recent_counts),
    )


def psi(reference: FloatArray, recent: FloatArray) -> float:
    """Return the population stability index of two vectors of counts (bins,); 0 for equal shares.

    Half a patient is added to each bin, so that an empty bin does not make the index infinite.
    """
    expected = (reference + 0.5) / (reference + 0.5).sum()
    actual = (recent + 0.5) / (recent + 0.5).sum()
    return float(((actual - expected) * np.log(actual / expected)).sum())


def psi_limit(reference: int, recent: int, bins: int) -> float:
    """Return the PSI above which two samples of these sizes differ significantly and relevantly.

    For two samples of one population the PSI is distributed as (1/n + 1/m) times chi-squared with
    bins - 1 degrees of freedom (Yurdakul and Naranjo, Journal of Risk Model Validation 14(3),
    2020).
    """
    from scipy.stats import chi2

    if not recent:
        return SIGNIFICANT_PSI
    chance_limit = float(chi2.ppf(CONFIDENCE, bins - 1)) * (1 / reference + 1 / recent)
    return max(SIGNIFICANT_PSI, chance_limit)


def _bin_counts(values: FloatArray, edges: FloatArray) -> FloatArray:
    """Count the values in (.., edge], (edge, edge], .., (edge, ..) and the missing values."""
    missing = np.isnan(values)
    bins = np.searchsorted(edges, values[~missing], side="left")
    counts = np.bincount(bins, minlength=len(edges) + 1)
    return np.append(counts, missing.sum()).astype(np.float64)


def _shares(counts: FloatArray) -> tuple[float, ...]:
    total = counts.sum()
    return tuple((counts / total if total else counts).tolist())
