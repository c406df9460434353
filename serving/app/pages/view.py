"""What the page shows of an answer: percentages, bars and words. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from diabetes_platform.contract.fields import FEATURES, RESULT_LABELS
from serving.app.models import Contributions
from serving.app.pages.form import unit_of
from serving.app.patient_models import Hop

LATE_SECONDS = 5
"""An answer that takes longer is explained to who waits for it."""

_STEPS = {
    "database": ("Page to database", "the form's insert and its commit"),
    "capture": ("Debezium", "reads the change from the database's log"),
    "check": ("Kafka and Flink", "checks the change and merges it"),
    "delivery": ("Kafka", "delivers it to the predictor"),
    "score": ("Model", "scores it, with what moved the score"),
    "store": ("Database", "stores the prediction and tells this page"),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a chart: its start and width in percent of the whole chart."""

    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Share:
    """What one measurement did to the prediction, in log-odds."""

    label: str
    given: str
    value: float
    bar: Bar

    @property
    def raises(self) -> bool:
        """Whether it speaks for diabetes."""
        return self.value > 0


@dataclass(frozen=True, slots=True)
class Step:
    """One hop on the way, as a bar of the whole way."""

    label: str
    description: str
    milliseconds: float | None
    bar: Bar | None


@dataclass(frozen=True, slots=True)
class AnswerView:
    """A prediction as the page shows it; `steps` is empty where nothing was stored."""

    event_id: str
    positive: bool
    result: str
    percent: float
    threshold: float | None
    model_version: str
    shares: list[Share]
    steps: list[Step]
    milliseconds: float | None


def answer_view(
    prediction: Mapping[str, Any], measurements: Mapping[str, float | None]
) -> AnswerView:
    """Return a prediction, stored or not, as the page shows it."""
    threshold = prediction["threshold"]
    return AnswerView(
        event_id=prediction.get("event_id", ""),
        positive=prediction["result"] == RESULT_LABELS[1],
        result=prediction["result"],
        percent=100 * prediction["probability"],
        threshold=None if threshold is None else 100 * threshold,
        model_version=prediction["model_version"],
        shares=shares(prediction["contributions"], measurements),
        steps=steps(prediction.get("hops", ())),
        milliseconds=_whole_way(prediction.get("hops", ())),
    )


def shares(contributions: Contributions, measurements: Mapping[str, float | None]) -> list[Share]:
    """Return the shares, the strongest first; bars grow from the middle to either side."""
    values = contributions["features"]
    widest = max((abs(value) for value in values.values()), default=0.0) or 1.0
    found = [
        Share(
            label=field.label,
            given=_measured(measurements.get(field.name), unit_of(field)),
            value=values[field.name],
            bar=_from_the_middle(values[field.name] / widest),
        )
        for field in FEATURES
        if field.name in values
    ]
    return sorted(found, key=lambda share: -abs(share.value))


def steps(hops: Sequence[Hop]) -> list[Step]:
    """Return the hops as a waterfall: each bar begins where the one before ends."""
    whole = sum(hop["milliseconds"] or 0 for hop in hops) or 1.0
    made, start = [], 0.0
    for hop in hops:
        took = hop["milliseconds"]
        label, description = _STEPS[hop["name"]]
        bar = None if took is None else Bar(100 * start / whole, 100 * took / whole)
        made.append(Step(label, description, took, bar))
        start += took or 0
    return made


def is_late(received_at: datetime, now: datetime | None = None) -> bool:
    """Return whether a patient has waited longer than an answer usually takes."""
    return ((now or datetime.now(UTC)) - received_at).total_seconds() > LATE_SECONDS


def _whole_way(hops: Sequence[Hop]) -> float | None:
    times = [hop["milliseconds"] for hop in hops]
    known = [time for time in times if time is not None]
    return sum(known) if known and len(known) == len(times) else None


def _from_the_middle(part: float) -> Bar:
    width = 50 * abs(part)
    return Bar(50 if part > 0 else 50 - width, width)


def _measured(value: float | None, unit: str) -> str:
    return "not measured" if value is None else f"{value:g} {unit}".rstrip()
