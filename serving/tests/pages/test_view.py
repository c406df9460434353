"""View models: contribution bars, stage bars and late predictions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from serving.app.pages.view import contribution_views, is_late, prediction_view, stage_views
from serving.app.patients.schemas import StageLatency
from serving.app.served_model import Contributions
from serving.tests.samples import CONTRIBUTIONS, PATIENT, patient

SHAP = Contributions(bias=CONTRIBUTIONS["bias"], features=CONTRIBUTIONS["features"])


def prediction(**changes: Any) -> dict[str, Any]:
    return {
        "result": "Diabetes",
        "probability": 0.73,
        "threshold": 0.32,
        "model_version": "m",
        "contributions": SHAP,
    } | changes


def test_contributions_are_sorted_by_size_and_their_bars_start_in_the_middle() -> None:
    views = contribution_views(SHAP, PATIENT)
    assert [view.label for view in views][:3] == ["Glucose", "Body mass index", "Insulin"]
    assert (views[0].bar.start, views[0].bar.width, views[0].value) == (50, 50, 1.2)
    negative = views[2].bar
    assert negative.start + negative.width == 50
    assert views[0].measurement == "148 mg/dL"
    assert contribution_views(SHAP, patient(glucose=None))[0].measurement == "not measured"


def test_contributions_of_zero_have_no_bars() -> None:
    zeros = Contributions(bias=0.0, features=dict.fromkeys(PATIENT, 0.0))
    assert {view.bar.width for view in contribution_views(zeros, PATIENT)} == {0}


def test_the_bar_of_a_stage_starts_where_the_previous_one_ends() -> None:
    views = stage_views(
        [
            StageLatency(name="database", milliseconds=10.0),
            StageLatency(name="capture", milliseconds=None),
            StageLatency(name="score", milliseconds=30.0),
        ]
    )
    assert [view.bar and (view.bar.start, view.bar.width) for view in views] == [
        (0, 25),
        None,
        (25, 75),
    ]


def test_the_total_latency_is_shown_only_if_every_stage_has_one() -> None:
    complete = [
        StageLatency(name="database", milliseconds=1.5),
        StageLatency(name="store", milliseconds=2.0),
    ]
    assert prediction_view(prediction(hops=complete), PATIENT).milliseconds == 3.5
    incomplete = [*complete, StageLatency(name="check", milliseconds=None)]
    assert prediction_view(prediction(hops=incomplete), PATIENT).milliseconds is None
    assert prediction_view(prediction(), PATIENT).milliseconds is None


@pytest.mark.parametrize(("seconds", "late"), [(0, False), (4.9, False), (5.1, True)])
def test_a_prediction_is_late_after_five_seconds(seconds: float, late: bool) -> None:
    now = datetime.now(UTC)
    assert is_late(now - timedelta(seconds=seconds), now) is late
