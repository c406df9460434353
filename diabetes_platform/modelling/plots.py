"""PNG plots: a candidate's ROC, calibration and importances, drift, and live calibration.

matplotlib keeps a font cache in `MPLCONFIGDIR`, which the caller must set.
"""

import base64
import math
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from diabetes_platform.contract.bundle import MODEL_FILE
from diabetes_platform.contract.fields import FEATURES, FIELDS_BY_NAME
from diabetes_platform.modelling.drift import FieldDrift
from diabetes_platform.modelling.live_calibration import LiveCalibration, calibration_bins
from diabetes_platform.modelling.training import Candidate
from diabetes_platform.modelling.training_set import FloatArray, TrainingSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _ACCENT, _PALE = "#333333", "#1f5fa8", "#b8cfe8"
_DPI = 80
_BAR_OFFSET = 0.2


def png_markdown(png: bytes, alt: str) -> str:
    """Return Markdown that shows the PNG itself: Dagster's UI allows `data:` in images."""
    return f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})"


def plot_candidate(candidate: Candidate, rows: TrainingSet) -> dict[str, bytes]:
    """Return the PNGs `roc`, `calibration` and `importance` of a candidate trained on `rows`."""
    return {
        "roc": _roc(candidate, rows),
        "calibration": _calibration(candidate, rows),
        "importance": _importance(candidate, rows),
    }


def _roc(candidate: Candidate, rows: TrainingSet) -> bytes:
    """Plot the ROC curve of each repeat's out-of-fold predictions and the operating point."""
    from sklearn.metrics import roc_curve

    figure, axes = _labelled_axes("1 - specificity", "sensitivity")
    for probabilities in candidate.out_of_fold.probabilities:
        fpr, tpr, _ = roc_curve(rows.outcomes, probabilities)
        axes.plot(fpr, tpr, color=_ACCENT, linewidth=1, alpha=0.7)
    metrics, auc = candidate.metrics, candidate.metrics["auc"]
    axes.plot([1 - metrics["specificity"].value], [metrics["sensitivity"].value], "o", color=_INK)
    axes.set_title(f"AUC {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})", fontsize=9)
    return _with_diagonal(figure, axes)


def _calibration(candidate: Candidate, rows: TrainingSet) -> bytes:
    """Plot observed against predicted risk in ten bins of equal size, over their histogram."""
    probabilities = candidate.out_of_fold.probabilities.ravel()
    outcomes = np.tile(rows.outcomes, len(candidate.out_of_fold.probabilities))
    bins = calibration_bins(probabilities, outcomes)
    figure, axes = _labelled_axes("predicted risk", "observed share")
    histogram = axes.twinx()
    histogram.hist(probabilities, bins=np.linspace(0, 1, 21).tolist(), color=_PALE)
    histogram.set_ylim(0, 4 * max(histogram.get_ylim()[1], 1))
    histogram.set_yticks([])
    axes.set_zorder(histogram.get_zorder() + 1)
    axes.patch.set_visible(False)
    predicted, observed = [b.predicted for b in bins], [b.observed for b in bins]
    axes.plot(predicted, observed, "o-", color=_ACCENT, linewidth=1, markersize=4)
    brier, slope = (candidate.metrics[name].value for name in ("brier", "calibration_slope"))
    axes.set_title(f"Brier {brier:.3f}, slope {slope:.2f}", fontsize=9)
    return _with_diagonal(figure, axes)


def _importance(candidate: Candidate, rows: TrainingSet) -> bytes:
    """Plot the share of the total gain and the mean |SHAP| in log-odds of each feature."""
    gain, shap = importances(candidate.files[MODEL_FILE], rows)
    order = np.argsort(shap)
    figure, gain_axes = _labelled_axes("share of gain", "")
    shap_axes = gain_axes.twiny()
    positions = np.arange(len(order))
    gain_axes.barh(positions + _BAR_OFFSET, gain[order], height=0.36, color=_PALE)
    shap_axes.barh(positions - _BAR_OFFSET, shap[order], height=0.36, color=_ACCENT)
    gain_axes.set_yticks(positions, [FEATURES[index].label for index in order], fontsize=8)
    shap_axes.set_xlabel("mean |SHAP| (log-odds, dark)", fontsize=8)
    shap_axes.tick_params(labelsize=7)
    return _to_png(figure)


def importances(model_text: bytes, rows: TrainingSet) -> tuple[FloatArray, FloatArray]:
    """Return each feature's share of the gain and mean |SHAP| in log-odds, both (features,)."""
    import lightgbm

    trees = lightgbm.Booster(model_str=model_text.decode())
    gain = np.asarray(trees.feature_importance("gain"), dtype=np.float64)
    contributions = np.asarray(trees.predict(rows.features, pred_contrib=True, num_threads=1))
    return gain / max(gain.sum(), 1e-12), np.abs(contributions[:, :-1]).mean(axis=0)


def plot_drift(drift: FieldDrift) -> bytes:
    """Return a PNG of both distributions over the bins of the training set, missing values last."""
    field = FIELDS_BY_NAME[drift.field]
    unit = "" if field.unit == "1" else f" [{field.unit}]"
    figure, axes = _labelled_axes(f"{field.label}{unit}", "share of patients")
    positions = np.arange(len(drift.reference_shares))
    for offset, shares, color, label in (
        (-_BAR_OFFSET, drift.reference_shares, _PALE, f"training set ({drift.reference})"),
        (_BAR_OFFSET, drift.recent_shares, _ACCENT, f"recent patients ({drift.recent})"),
    ):
        axes.bar(positions + offset, shares, 2 * _BAR_OFFSET, color=color, label=label)
    labels = [*(f"≤ {edge:g}" for edge in drift.edges), f"> {drift.edges[-1]:g}", "missing"]
    axes.set_xticks(positions, labels, rotation=45, ha="right", fontsize=7)
    axes.legend(fontsize=7, frameon=False)
    return _to_png(figure)


def plot_live_calibration(calibration: LiveCalibration) -> bytes:
    """Return a PNG of the bins with the standard error of the observed share."""
    figure, axes = _labelled_axes("predicted risk", "observed share")
    bins = calibration.bins
    axes.errorbar(
        [b.predicted for b in bins],
        [b.observed for b in bins],
        yerr=[math.sqrt(b.observed * (1 - b.observed) / b.patients) for b in bins],
        fmt="o-",
        color=_ACCENT,
        markersize=4,
        linewidth=1,
    )
    axes.set_title(f"{calibration.outcomes} confirmed outcomes", fontsize=9)
    return _with_diagonal(figure, axes)


def _labelled_axes(x: str, y: str) -> "tuple[Figure, Axes]":
    """Return an empty figure and its labelled axes."""
    # Not pyplot: it has global state and needs a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 3.4), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=7)
    return figure, axes


def _with_diagonal(figure: "Figure", axes: "Axes") -> bytes:
    axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.6, linestyle="--")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    return _to_png(figure)


def _to_png(figure: "Figure") -> bytes:
    """Return the figure as a PNG; the same figure gives the same bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
