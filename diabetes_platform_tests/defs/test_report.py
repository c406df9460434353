"""The report of `diabetes report` from a real instance that has run the batch, and then more."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from diabetes_platform.definitions import build_definitions
from diabetes_platform.report.content import Report
from diabetes_platform.report.gather import gather
from diabetes_platform.report.page import render
from diabetes_platform_tests.defs.conftest import Platform
from diabetes_platform_tests.defs.live_patients import live_of

pytestmark = pytest.mark.integration
MARKED = (
    {"bmi": "43.21987", "glucose": "147.31973"},
    {"bmi": "612.34567"},
    {"age": "7.654321"},
)
"""Values that occur nowhere by chance."""


def report_of(platform: Platform) -> Report:
    defs = build_definitions(lambda: platform.settings)
    return gather(platform.settings, defs, platform.instance)


def test_the_batch_its_checks_and_the_model_are_told(serving: Platform) -> None:
    found = report_of(serving)
    assert found.batch is not None
    assert (found.batch.rows, found.batch.accepted, found.batch.rejected) == (768, 766, 2)
    assert dict(found.batch.reasons) == {"bmi:outlier": 1, "skin_thickness:outlier": 1}
    assert found.batch.served == found.batch.batch_id
    assert found.model is not None
    assert found.model.version == serving.champion()
    assert [figure.alt.partition(" ")[0] for figure in found.model.figures] == [
        "ROC",
        "Observed",
        "What",
    ]
    assert [(one.version, one.released) for one in found.history] == [(found.model.version, True)]
    # 74 expectations and what is not one, the gate, the served version: all have run.
    assert found.counts["passed"] >= 79
    assert found.counts["failed"] == 0
    assert not found.stream.asked


def test_what_the_hourly_job_found_and_what_has_not_run_is_told_apart(serving: Platform) -> None:
    live_of(serving).stream([None] * 60)
    job = build_definitions(lambda: serving.settings).resolve_job_def("monitoring")
    before = report_of(serving)
    job.execute_in_process(instance=serving.instance)
    after = report_of(serving)
    assert before.counts["not run"] == 15
    assert after.counts["not run"] == 0
    assert ("stream/patients", "every_message_accounted_for") in [
        (asset, check.name) for asset, check in after.alarming
    ]
    assert after.counts["not judged"] >= 3


@pytest.mark.slow
def test_a_batch_that_was_refused_is_not_the_one_that_is_served(
    serving: Platform, pima_with: Callable[..., Path]
) -> None:
    served = report_of(serving).batch
    lonely = pima_with("lonely", lambda row, n: row if n < 20 else None)
    assert not serving.run(lonely).success
    found = report_of(serving)
    assert found.batch is not None
    assert served is not None
    assert (found.batch.rows, found.batch.served) == (20, served.batch_id)
    assert found.state == "failed"
    assert all(check.blocking or check.state == "warning" for _, check in found.alarming)


@pytest.mark.slow
def test_no_value_of_a_patient_is_in_the_page(
    serving: Platform, pima_with: Callable[..., Path]
) -> None:
    def marked(row: dict[str, str], number: int) -> dict[str, str]:
        # One that is accepted, and one that is rejected.
        return row | MARKED[number] if number < len(MARKED) else row

    # Too like the batch before for a better model: the gate may stop it, at the end.
    serving.run(pima_with("marked", marked))
    live = live_of(serving)
    live.stream([None] * 60, bmi=[43.21987] * 60, glucose=[147.31973] * 60)
    live.predict(live.probabilities[:60])
    job = build_definitions(lambda: serving.settings).resolve_job_def("monitoring")
    job.execute_in_process(instance=serving.instance)
    found = report_of(serving)
    html = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", render(found))
    assert found.batch is not None
    assert found.batch.rejected == 4
    for values in MARKED:
        for value in values.values():
            assert value not in html
    assert not re.search(r"\b[0-9a-f]{12}-\d+\b", html), "no record id either"


def test_a_platform_that_has_run_nothing_is_told_as_it_is(platform: Platform) -> None:
    found = report_of(platform)
    assert (found.batch, found.model, found.history, found.state) == (None, None, (), "not run")
    assert "No batch was read yet." in render(found)
