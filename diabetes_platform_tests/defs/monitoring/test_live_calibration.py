"""The check of live calibration: stored answers of the champion against confirmed outcomes."""

import dagster as dg
import numpy as np
import pytest

from diabetes_platform.defs.monitoring.live_calibration import risks_come_true
from diabetes_platform_tests.defs.conftest import Platform
from diabetes_platform_tests.defs.live_patients import Live, live_of
from diabetes_platform_tests.defs.monitoring.test_skew import result

pytestmark = pytest.mark.integration
PATIENTS = 400


@pytest.fixture
def live(serving: Platform) -> Live:
    return live_of(serving)


def outcomes(live: Live, more: float = 0.0) -> list[int | None]:
    """Outcomes drawn from the champion's own risks, each raised by `more`."""
    drawn = np.random.default_rng(3).uniform(size=PATIENTS)
    return [int(one) for one in drawn < live.probabilities[:PATIENTS] + more]


def test_risks_that_came_true_pass_with_their_numbers_and_a_plot(live: Live) -> None:
    live.stream(outcomes(live))
    live.predict(live.probabilities[:PATIENTS])
    found = result(risks_come_true, live.platform.settings)
    assert found.passed
    numbers = {name: value.value for name, value in found.metadata.items()}
    assert (numbers["outcomes_after_an_answer"], numbers["judged"]) == (PATIENTS, True)
    assert 0 < float(str(numbers["brier"])) < 0.25
    assert str(numbers["plot/calibration"]).startswith("![observed against predicted risk](data:")


@pytest.mark.parametrize(
    ("more", "severity"),
    [(0.12, dg.AssetCheckSeverity.WARN), (0.4, dg.AssetCheckSeverity.ERROR)],
)
def test_risks_that_are_too_low_fail(
    live: Live, more: float, severity: dg.AssetCheckSeverity
) -> None:
    live.stream(outcomes(live, more))
    live.predict(live.probabilities[:PATIENTS])
    found = result(risks_come_true, live.platform.settings)
    assert (found.passed, found.severity) == (False, severity)


def test_of_few_outcomes_nothing_is_judged(live: Live) -> None:
    live.stream([*outcomes(live)[:30], *[None] * 100])
    live.predict(live.probabilities[:130])
    found = result(risks_come_true, live.platform.settings)
    assert found.passed
    assert found.metadata["judged"].value is False
    assert "30 confirmed outcomes" in (found.description or "")


def test_answers_that_came_after_the_outcome_do_not_count(live: Live) -> None:
    live.stream(outcomes(live))
    found = result(risks_come_true, live.platform.settings)
    assert found.metadata["confirmed_outcomes"].value == PATIENTS
    assert found.metadata["outcomes_after_an_answer"].value == 0
