"""Rendering a report as one HTML file that contains its style and pictures and loads nothing."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from diabetes_platform.contract.fields import FIELDS_BY_NAME
from diabetes_platform.report.report import Number, Report, State

_TEMPLATES = Path(__file__).parent / "templates"

SIGNS: Mapping[State, str] = {
    "passed": "✓",
    "inconclusive": "~",
    "warning": "!",
    "failed": "✗",
    "not run": "○",
}
"""Shown beside the state's name, so that no state is recognisable only by its colour."""

SUMMARIES: Mapping[State, str] = {
    "passed": "Every conclusive check passed.",
    "inconclusive": "There is too little data for a result.",
    "warning": "Some checks warn.",
    "failed": "Some checks failed, or a service is unhealthy.",
    "not run": "No check has run yet.",
}

METRICS: Mapping[str, tuple[str, str]] = {
    "auc": (
        "AUC",
        "How often an ill patient gets a higher risk than a healthy one: 0.5 is chance.",
    ),
    "brier": ("Brier score", "Mean squared error of the risk: lower is better, 0 is perfect."),
    "log_loss": ("Log loss", "Penalises confident errors: lower is better."),
    "calibration_slope": (
        "Calibration slope",
        "1 is ideal; below 1, high risks are too high and low risks too low.",
    ),
    "calibration_intercept": (
        "Calibration in the large",
        "0 is ideal; above 0, risks are too low on average.",
    ),
    "sensitivity": ("Sensitivity", "Share of ill patients at or above the threshold."),
    "specificity": ("Specificity", "Share of healthy patients below the threshold."),
}
"""Label and explanation of each metric, for readers without statistics."""


def render(report: Report) -> str:
    """Return the HTML document."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "share": share, "timestamp": timestamp}
    return environment.get_template("report.html").render(
        report=report,
        signs=SIGNS,
        summaries=SUMMARIES,
        metrics=METRICS,
        features=FIELDS_BY_NAME,
        style=(_TEMPLATES / "report.css").read_text(encoding="utf-8"),
    )


def number(value: Number) -> str:
    """Format a number for people: 12,345 and 0.0123; text stays as it is."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e15):  # noqa: PLR2004 - a double's whole numbers
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4g}"  # noqa: PLR2004


def share(part: int, total: int) -> str:
    """Format a share in percent; `none` if the total is 0."""
    return f"{100 * part / total:.1f} %" if total else "none"


def timestamp(at: datetime) -> str:
    """Format a time in UTC, to the minute."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
