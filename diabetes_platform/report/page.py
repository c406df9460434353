"""A report as one HTML file that loads nothing: style and pictures stand in it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from diabetes_platform.contract.fields import FIELDS_BY_NAME
from diabetes_platform.report.content import Number, Report, State

_TEMPLATES = Path(__file__).parent / "templates"

SIGNS: Mapping[State, str] = {
    "passed": "✓",
    "not judged": "~",
    "warning": "!",
    "failed": "✗",
    "not run": "○",
}
"""Beside the words, so that colour alone says nothing."""

VERDICTS: Mapping[State, str] = {
    "passed": "Every check that could be judged passed.",
    "not judged": "There was too little to judge.",
    "warning": "Something is worth a look.",
    "failed": "Something failed.",
    "not run": "Nothing has run yet.",
}

METRICS: Mapping[str, tuple[str, str]] = {
    "auc": (
        "AUC",
        "How often an ill patient gets a higher risk than a healthy one: 0.5 is chance, 1 always.",
    ),
    "brier": ("Brier score", "Mean squared error of the risk: lower is better, 0 is perfect."),
    "log_loss": ("Log loss", "Punishes sure and wrong risks: lower is better."),
    "calibration_slope": (
        "Calibration slope",
        "1 is ideal; below 1 high risks are too high and low ones too low.",
    ),
    "calibration_intercept": (
        "Calibration in the large",
        "0 is ideal; above 0 the risks are too low on the whole.",
    ),
    "sensitivity": ("Sensitivity", "Share of the ill that the threshold finds."),
    "specificity": ("Specificity", "Share of the healthy that the threshold spares."),
}
"""What a metric is called and says, for a reader who is no statistician."""


def render(report: Report) -> str:
    """Return the HTML document."""
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            signs=SIGNS,
            verdicts=VERDICTS,
            metrics=METRICS,
            features=FIELDS_BY_NAME,
            style=(_TEMPLATES / "report.css").read_text(encoding="utf-8"),
        )
    )


def number(value: Number) -> str:
    """Return a number as a person reads it: 12,345 and 0.0123; text as it is."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e15):  # noqa: PLR2004 - a double's whole numbers
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4g}"  # noqa: PLR2004


def share(part: int, total: int) -> str:
    """Return a share in percent; none of nothing."""
    return f"{100 * part / total:.1f} %" if total else "none"


def moment(at: datetime) -> str:
    """Return a time in UTC, to the minute."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "share": share, "moment": moment}
    return made
