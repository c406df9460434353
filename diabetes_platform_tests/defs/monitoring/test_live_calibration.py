"""The check of live calibration: stored predictions of the champion against confirmed outcomes."""

import dagster as dg
import numpy as np
import pytest

from diabetes_platform.defs.monitoring.live_calibration import risks_come_true
from diabetes_platform_tests.defs.conftest import Platform
from diabetes_platform_tests.defs.live_patients import Live, live_of
from diabetes_platform_tests.defs.monitoring.test_skew import evaluate

pytestmark = pytest.mark.integration
PATIENTS = 400


@pytest.fixture
def live(serving: Platform) -> Live:
    return live_of(serving)


def outcomes(live: Live, excess: float = 0.0) -> list[int | None]:
    """Outcomes drawn from the champion's own risks, each raised by `excess`."""
    drawn = np.random.default_rng(3).uniform(size=PATIENTS)
    return [int(outcome) for outcome in drawn < live.probabilities[:PATIENTS] + excess]


def test_calibrated_risks_pass_with_numbers_and_a_plot(live: Live) -> None:
    live.stream(outcomes(live))
    live.predict(live.probabilities[:PATIENTS])
    evaluation = evaluate(risks_come_true, live.platform.settings)
    assert evaluation.passed
    numbers = {name: value.value for name, value in evaluation.metadata.items()}
    assert (numbers["outcomes_after_an_answer"], numbers["judged"]) == (PATIENTS, True)
    assert 0 < float(str(numbers["brier"])) < 0.25
    assert str(numbers["plot/calibration"]).startswith("![observed against predicted risk](data:")


@pytest.mark.parametrize(
    ("excess", "severity"),
    [(0.12, dg.AssetCheckSeverity.WARN), (0.4, dg.AssetCheckSeverity.ERROR)],
)
def test_risks_that_are_too_low_fail(
    live: Live, excess: float, severity: dg.AssetCheckSeverity
) -> None:
    live.stream(outcomes(live, excess))
    live.predict(live.probabilities[:PATIENTS])
    evaluation = evaluate(risks_come_true, live.platform.settings)
    assert (evaluation.passed, evaluation.severity) == (False, severity)


def test_few_outcomes_are_inconclusive(live: Live) -> None:
    live.stream([*outcomes(live)[:30], *[None] * 100])
    live.predict(live.probabilities[:130])
    evaluation = evaluate(risks_come_true, live.platform.settings)
    assert evaluation.passed
    assert evaluation.metadata["judged"].value is False
    assert "30 confirmed outcomes" in (evaluation.description or "")


def test_predictions_after_the_outcome_do_not_count(live: Live) -> None:
    live.stream(outcomes(live))
    evaluation = evaluate(risks_come_true, live.platform.settings)
    assert evaluation.metadata["confirmed_outcomes"].value == PATIENTS
    assert evaluation.metadata["outcomes_after_an_answer"].value == 0
