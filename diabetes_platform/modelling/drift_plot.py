"""The plot of a field's drift: shares of patients in the bins, then and now."""

import numpy as np

from diabetes_platform.contract.fields import FIELDS
from diabetes_platform.modelling.drift import Drift
from diabetes_platform.modelling.figures import ACCENT, PALE, labelled_axes, png_of

_HALF = 0.2


def drift_png(drift: Drift) -> bytes:
    """Return a PNG of both distributions over the bins of the training set, missing ones last."""
    (field,) = (each for each in FIELDS if each.name == drift.field)
    unit = "" if field.unit == "1" else f" [{field.unit}]"
    figure, axes = labelled_axes(f"{field.label}{unit}", "share of patients")
    places = np.arange(len(drift.reference_shares))
    before = f"training set ({drift.reference})"
    axes.bar(places - _HALF, drift.reference_shares, 2 * _HALF, color=PALE, label=before)
    now = f"recent patients ({drift.recent})"
    axes.bar(places + _HALF, drift.recent_shares, 2 * _HALF, color=ACCENT, label=now)
    axes.set_xticks(places, _bins(drift.edges), rotation=45, ha="right", fontsize=7)
    axes.legend(fontsize=7, frameon=False)
    return png_of(figure)


def _bins(edges: tuple[float, ...]) -> list[str]:
    inner = [f"≤ {edge:g}" for edge in edges]
    return [*inner, f"> {edges[-1]:g}", "missing"]
