"""PNG plots: a candidate's ROC, calibration and importances, drift, and live calibration.

matplotlib keeps a font cache in `MPLCONFIGDIR`, which the caller must set.
"""

import base64
import math
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from diabetes_platform.contract.bundle import MODEL_FILE
from diabetes_platform.contract.fields import FEATURES, FIELDS
from diabetes_platform.modelling.drift import Drift
from diabetes_platform.modelling.live_calibration import LiveCalibration
from diabetes_platform.modelling.training import Candidate
from diabetes_platform.modelling.training_set import FloatArray, TrainingSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, ACCENT, PALE = "#333333", "#1f5fa8", "#b8cfe8"
_DPI = 80


def png_markdown(png: bytes, alt: str) -> str:
    """Return Markdown that shows the PNG itself: Dagster's UI allows `data:` in images."""
    return f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})"


def labelled_axes(x: str, y: str) -> "tuple[Figure, Axes]":
    """Return an empty figure and its axes, with the labels of both."""
    # Figure without pyplot: no global state, no display, safe in a thread of the webserver.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 3.4), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=7)
    return figure, axes


def png_of(figure: "Figure") -> bytes:
    """Return the figure as a PNG; the same figure gives the same bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


_BINS = 10


def plot_candidate(candidate: Candidate, rows: TrainingSet) -> dict[str, bytes]:
    """Return the PNGs `roc`, `calibration` and `importance` of a candidate trained on `rows`."""
    return {
        "roc": roc_png(candidate, rows),
        "calibration": calibration_png(candidate, rows),
        "importance": importance_png(candidate, rows),
    }


def roc_png(candidate: Candidate, rows: TrainingSet) -> bytes:
    """The ROC curve of each repeat's held-out predictions, and where the decision lies."""
    from sklearn.metrics import roc_curve

    figure, axes = labelled_axes("1 - specificity", "sensitivity")
    for probabilities in candidate.held_out.probabilities:
        false_alarms, found, _ = roc_curve(rows.outcomes, probabilities)
        axes.plot(false_alarms, found, color=ACCENT, linewidth=1, alpha=0.7)
    metrics = candidate.evaluation.metrics
    axes.plot([1 - metrics["specificity"].value], [metrics["sensitivity"].value], "o", color=INK)
    auc = metrics["auc"]
    axes.set_title(f"AUC {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})", fontsize=9)
    _diagonal(axes)
    return png_of(figure)


def calibration_png(candidate: Candidate, rows: TrainingSet) -> bytes:
    """Observed against predicted risk in ten bins of equal size, above all predictions."""
    probabilities = candidate.held_out.probabilities.ravel()
    outcomes = np.tile(rows.outcomes, len(candidate.held_out.probabilities))
    bins = np.array_split(np.argsort(probabilities, kind="stable"), _BINS)
    predicted = [float(probabilities[members].mean()) for members in bins if len(members)]
    observed = [float(outcomes[members].mean()) for members in bins if len(members)]
    figure, axes = labelled_axes("predicted risk", "observed share")
    histogram = axes.twinx()
    histogram.hist(probabilities, bins=np.linspace(0, 1, 21).tolist(), color=PALE)
    histogram.set_ylim(0, 4 * max(histogram.get_ylim()[1], 1))
    histogram.set_yticks([])
    axes.set_zorder(histogram.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.plot(predicted, observed, "o-", color=ACCENT, linewidth=1, markersize=4)
    metrics = candidate.evaluation.metrics
    axes.set_title(
        f"Brier {metrics['brier'].value:.3f}, slope {metrics['calibration_slope'].value:.2f}",
        fontsize=9,
    )
    _diagonal(axes)
    return png_of(figure)


def importance_png(candidate: Candidate, rows: TrainingSet) -> bytes:
    """Share of the total gain, and mean size of the contribution to the log-odds (SHAP)."""
    gain, shap = importances(candidate.files[MODEL_FILE], rows)
    order = np.argsort(shap)
    labels = [FEATURES[index].label for index in order]
    figure, left = labelled_axes("share of gain", "")
    right = left.twiny()
    places = np.arange(len(order))
    left.barh(places + 0.2, gain[order], height=0.36, color=PALE)
    right.barh(places - 0.2, shap[order], height=0.36, color=ACCENT)
    left.set_yticks(places, labels, fontsize=8)
    right.set_xlabel("mean |SHAP| (log-odds, dark)", fontsize=8)
    right.tick_params(labelsize=7)
    return png_of(figure)


def importances(model_text: bytes, rows: TrainingSet) -> tuple[FloatArray, FloatArray]:
    """Return each feature's share of the gain and mean |SHAP| in log-odds, both (features,)."""
    import lightgbm

    trees = lightgbm.Booster(model_str=model_text.decode())
    gain = np.asarray(trees.feature_importance("gain"), dtype=np.float64)
    contributions = np.asarray(trees.predict(rows.features, pred_contrib=True, num_threads=1))
    return gain / max(gain.sum(), 1e-12), np.abs(contributions[:, :-1]).mean(axis=0)


def _diagonal(axes: "Axes") -> None:
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle="--")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)


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
