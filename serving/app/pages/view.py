"""View models of a prediction: percentages, chart bars and labels. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from diabetes_platform.contract.fields import FEATURES, RESULT_LABELS
from serving.app.pages.form import unit_of
from serving.app.patients.schemas import StageLatency
from serving.app.served_model import Contributions

LATE_SECONDS = 5
"""The page explains the delay of a prediction that takes longer."""

_STAGES = {
    "database": ("Page to database", "stores the patient"),
    "capture": ("Debezium", "reads the change from the database's log"),
    "check": ("Kafka and Flink", "validate the change"),
    "delivery": ("Kafka", "delivers the change to the predictor"),
    "score": ("Model", "computes prediction and contributions"),
    "store": ("Database", "stores the prediction"),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a chart: its start and width in percent of the chart's width."""

    start: float
    width: float


@dataclass(frozen=True, slots=True)
class ContributionView:
    """The contribution of one measurement to a prediction, in log-odds."""

    label: str
    measurement: str
    value: float
    bar: Bar


@dataclass(frozen=True, slots=True)
class StageView:
    """The latency of one stage; its bar starts where the previous stage ends."""

    label: str
    description: str
    milliseconds: float | None
    bar: Bar | None


@dataclass(frozen=True, slots=True)
class PredictionView:
    """A prediction as the page shows it; `stages` is empty if it was not stored."""

    event_id: str
    positive: bool
    result: str
    percent: float
    threshold: float | None
    model_version: str
    contributions: list[ContributionView]
    stages: list[StageView]
    milliseconds: float | None


def prediction_view(
    prediction: Mapping[str, Any], measurements: Mapping[str, float | None]
) -> PredictionView:
    """Return the view of a prediction, stored or not."""
    threshold = prediction["threshold"]
    latencies: Sequence[StageLatency] = prediction.get("hops", ())
    milliseconds = [stage["milliseconds"] for stage in latencies]
    complete = milliseconds and None not in milliseconds
    return PredictionView(
        event_id=prediction.get("event_id", ""),
        positive=prediction["result"] == RESULT_LABELS[1],
        result=prediction["result"],
        percent=100 * prediction["probability"],
        threshold=None if threshold is None else 100 * threshold,
        model_version=prediction["model_version"],
        contributions=contribution_views(prediction["contributions"], measurements),
        stages=stage_views(latencies),
        milliseconds=sum(filter(None, milliseconds)) if complete else None,
    )


def contribution_views(
    contributions: Contributions, measurements: Mapping[str, float | None]
) -> list[ContributionView]:
    """Return the contributions, largest first; their bars start in the middle of the chart."""
    values = contributions["features"]
    largest = max((abs(value) for value in values.values()), default=0.0) or 1.0
    views = [
        ContributionView(
            label=field.label,
            measurement=_format(measurements.get(field.name), unit_of(field)),
            value=values[field.name],
            bar=_centered_bar(values[field.name] / largest),
        )
        for field in FEATURES
        if field.name in values
    ]
    return sorted(views, key=lambda view: -abs(view.value))


def stage_views(latencies: Sequence[StageLatency]) -> list[StageView]:
    """Return the stages as a waterfall chart."""
    total = sum(stage["milliseconds"] or 0 for stage in latencies) or 1.0
    views, start = [], 0.0
    for stage in latencies:
        milliseconds = stage["milliseconds"]
        label, description = _STAGES[stage["name"]]
        bar = None if milliseconds is None else Bar(100 * start / total, 100 * milliseconds / total)
        views.append(StageView(label, description, milliseconds, bar))
        start += milliseconds or 0
    return views


def is_late(received_at: datetime | None, now: datetime | None = None) -> bool:
    """Return whether a patient has waited for longer than a prediction usually takes.

    None is a stored time that cannot be represented: a row that no recent request has stored.
    """
    if received_at is None:
        return True
    return ((now or datetime.now(UTC)) - received_at).total_seconds() > LATE_SECONDS


def _centered_bar(fraction: float) -> Bar:
    width = 50 * abs(fraction)
    return Bar(50 if fraction > 0 else 50 - width, width)


def _format(value: float | None, unit: str) -> str:
    return "not measured" if value is None else f"{value:g} {unit}".rstrip()
