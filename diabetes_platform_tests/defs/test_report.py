"""The report of a real instance after a batch and after the monitoring job."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from diabetes_platform.definitions import build_definitions
from diabetes_platform.report.collect import collect
from diabetes_platform.report.page import render
from diabetes_platform.report.report import Report
from diabetes_platform_tests.defs.conftest import Platform
from diabetes_platform_tests.defs.live_patients import live_of

pytestmark = pytest.mark.integration
MARKED = (
    {"bmi": "43.21987", "glucose": "147.31973"},
    {"bmi": "612.34567"},
    {"age": "7.654321"},
)
"""Values that no other text contains by chance."""


def report_of(platform: Platform) -> Report:
    defs = build_definitions(lambda: platform.settings)
    return collect(platform.settings, defs, platform.instance)


def test_the_report_contains_batch_checks_and_model(serving: Platform) -> None:
    report = report_of(serving)
    assert report.batch is not None
    assert (report.batch.rows, report.batch.accepted, report.batch.rejected) == (768, 766, 2)
    assert dict(report.batch.reasons) == {"bmi:outlier": 1, "skin_thickness:outlier": 1}
    assert report.batch.served == report.batch.batch_id
    assert report.model is not None
    assert report.model.version == serving.champion()
    assert [figure.alt.partition(" ")[0] for figure in report.model.figures] == [
        "ROC",
        "Observed",
        "Feature",
    ]
    assert [(entry.version, entry.released) for entry in report.history] == [
        (report.model.version, True)
    ]
    # 76 expectations, the other batch checks, the gate and the served version.
    assert report.counts["passed"] >= 82
    assert report.counts["failed"] == 0
    assert report.stream_issues is None


def test_checks_that_have_not_run_differ_from_inconclusive_ones(serving: Platform) -> None:
    live_of(serving).stream([None] * 60)
    job = build_definitions(lambda: serving.settings).resolve_job_def("monitoring")
    initial = report_of(serving)
    job.execute_in_process(instance=serving.instance)
    report = report_of(serving)
    assert initial.counts["not run"] == 17
    assert report.counts["not run"] == 0
    assert ("monitoring/live", "every_message_accounted_for") in [
        (asset, check.name) for asset, check in report.failures
    ]
    assert report.counts["inconclusive"] >= 3


@pytest.mark.slow
def test_a_rejected_batch_is_not_served(serving: Platform, pima_with: Callable[..., Path]) -> None:
    served = report_of(serving).batch
    too_small = pima_with("too_small", lambda row, n: row if n < 20 else None)
    assert not serving.run(too_small).success
    report = report_of(serving)
    assert report.batch is not None
    assert served is not None
    assert (report.batch.rows, report.batch.served) == (20, served.batch_id)
    assert report.state == "failed"
    assert all(check.blocking or check.state == "warning" for _, check in report.failures)


@pytest.mark.slow
def test_the_page_contains_no_value_of_a_patient(
    serving: Platform, pima_with: Callable[..., Path]
) -> None:
    def marked(row: dict[str, str], number: int) -> dict[str, str]:
        # One row is accepted, the others are rejected.
        return row | MARKED[number] if number < len(MARKED) else row

    # The batch resembles the previous one, so the gate may keep the champion.
    serving.run(pima_with("marked", marked))
    live = live_of(serving)
    live.stream([None] * 60, bmi=[43.21987] * 60, glucose=[147.31973] * 60)
    live.predict(live.probabilities[:60])
    job = build_definitions(lambda: serving.settings).resolve_job_def("monitoring")
    job.execute_in_process(instance=serving.instance)
    report = report_of(serving)
    html = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", render(report))
    assert report.batch is not None
    assert report.batch.rejected == 4
    for values in MARKED:
        for value in values.values():
            assert value not in html
    assert not re.search(r"\b[0-9a-f]{12}-\d+\b", html), "record ids are not shown either"


def test_the_report_of_a_platform_without_runs_is_empty(platform: Platform) -> None:
    report = report_of(platform)
    assert (report.batch, report.model, report.history, report.state) == (None, None, (), "not run")
    assert "No batch has been read yet." in render(report)
