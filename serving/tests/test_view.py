"""What the page shows of an answer: bars, words and what is late."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from serving.app.pages.view import contribution_views, is_late, prediction_view, stage_views
from serving.app.validation import EXAMPLE_PATIENT
from serving.tests.warehouse import CONTRIBUTIONS


def prediction(**changed: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "result": "Diabetes",
        "probability": 0.73,
        "threshold": 0.32,
        "model_version": "m",
        "contributions": CONTRIBUTIONS,
    }
    return made | changed


def test_shares_are_sorted_by_strength_and_grow_from_the_middle() -> None:
    found = contribution_views(CONTRIBUTIONS, EXAMPLE_PATIENT)  # type: ignore[arg-type]
    assert [share.label for share in found][:3] == ["Glucose", "Body mass index", "Insulin"]
    assert (found[0].bar.start, found[0].bar.width, found[0].raises_risk) == (50, 50, True)
    against = found[2].bar
    assert against.start + against.width == 50
    assert found[0].measurement == "148 mg/dL"
    unmeasured = contribution_views(CONTRIBUTIONS, {**EXAMPLE_PATIENT, "glucose": None})  # type: ignore[arg-type]
    assert unmeasured[0].measurement == "not measured"


def test_a_model_that_nothing_moved_has_no_bars() -> None:
    none = {"bias": 0.0, "features": dict.fromkeys(EXAMPLE_PATIENT, 0.0)}
    assert {share.bar.width for share in contribution_views(none, EXAMPLE_PATIENT)} == {0}  # type: ignore[arg-type]


def test_each_step_begins_where_the_one_before_ends() -> None:
    found = stage_views(
        [
            {"name": "database", "milliseconds": 10.0},
            {"name": "capture", "milliseconds": None},
            {"name": "score", "milliseconds": 30.0},
        ]
    )
    assert [step.bar and (step.bar.start, step.bar.width) for step in found] == [
        (0, 25),
        None,
        (25, 75),
    ]


def test_the_whole_way_is_told_only_where_each_step_is_known() -> None:
    known = [{"name": "database", "milliseconds": 1.5}, {"name": "store", "milliseconds": 2.0}]
    assert prediction_view(prediction(hops=known), EXAMPLE_PATIENT).milliseconds == 3.5
    missing = [*known, {"name": "check", "milliseconds": None}]
    assert prediction_view(prediction(hops=missing), EXAMPLE_PATIENT).milliseconds is None


@pytest.mark.parametrize(("seconds", "late"), [(0, False), (4.9, False), (5.1, True)])
def test_who_waits_longer_than_usual_is_told_so(seconds: float, late: bool) -> None:
    now = datetime.now(UTC)
    assert is_late(now - timedelta(seconds=seconds), now) is late
