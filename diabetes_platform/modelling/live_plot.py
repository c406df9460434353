"""The plot of live calibration: observed against predicted risk."""

import math

from diabetes_platform.modelling.figures import ACCENT, INK, labelled_axes, png_of
from diabetes_platform.modelling.live_calibration import LiveCalibration


def live_calibration_png(found: LiveCalibration) -> bytes:
    """Return a PNG of the bins, each with the standard error of its observed share."""
    figure, axes = labelled_axes("predicted risk", "observed share")
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    axes.errorbar(
        [each.predicted for each in found.bins],
        [each.observed for each in found.bins],
        yerr=[_error(each.observed, each.patients) for each in found.bins],
        fmt="o-",
        color=ACCENT,
        markersize=4,
        linewidth=1,
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_title(f"{found.outcomes} confirmed outcomes", fontsize=9)
    return png_of(figure)


def _error(share: float, patients: int) -> float:
    return math.sqrt(share * (1 - share) / patients)
