"""The release rules as tables of examples."""

from dataclasses import replace

import pytest

from diabetes_platform.contract.bundle import Bundle, Calibration
from diabetes_platform.modelling.gate_result import GateResult, MetricDifference
from diabetes_platform.modelling.release_gate import (
    AUC_MARGIN,
    baseline_rule,
    champion_rule,
    decide_release,
    predicts_identically,
)

PASSED, FAILED = GateResult(passed=True, text="better"), GateResult(passed=False, text="worse")
CHAMPION = Bundle(
    model_version="0123456789ab",
    features=("glucose",),
    calibration=Calibration(1.0, 0.0),
    threshold=0.3,
    metrics={},
    training={"delta_version": 1},
    contract_fingerprint="f" * 64,
    libraries={},
    files={"model.txt": "a" * 64},
)


def difference(metric: str, estimate: float, reach: float = 0.0) -> MetricDifference:
    return MetricDifference(
        metric, 0.5 + estimate, 0.5, estimate, low=estimate - reach, high=estimate + reach
    )


@pytest.mark.parametrize(
    ("brier", "log_loss", "auc", "reach", "passed"),
    [
        (-0.07, -0.17, 0.30, 0.01, True),
        (-0.07, -0.17, 0.30, 0.08, False),
        (-0.07, +0.01, 0.30, 0.00, False),
        (+0.01, -0.17, 0.30, 0.00, False),
        (-0.01, -0.02, 0.00, 0.00, False),
        (0.0, 0.0, 0.0, 0.0, False),
    ],
    ids=[
        "surely better",
        "maybe better",
        "worse log loss",
        "worse Brier score",
        "a shrunken prevalence",
        "the baseline",
    ],
)
def test_baseline_rule_requires_a_significant_gain_in_every_metric(
    brier: float, log_loss: float, auc: float, reach: float, passed: bool
) -> None:
    result = baseline_rule(
        {
            "brier": difference("brier", brier, reach),
            "log_loss": difference("log_loss", log_loss, reach),
            "auc": difference("auc", auc, reach),
        }
    )
    assert result.passed is passed
    assert (result.estimate, result.low, result.high) == (brier, brier - reach, brier + reach)


@pytest.mark.parametrize(
    ("brier", "auc", "passed"),
    [
        (-0.0001, 0.0, True),
        (-0.0001, -AUC_MARGIN, True),
        (-0.0001, -AUC_MARGIN - 1e-6, False),
        (0.0, 0.01, False),
        (0.0001, 0.05, False),
    ],
    ids=["better", "ranks a little worse", "ranks worse", "as good", "worse calibrated"],
)
def test_champion_rule_requires_a_lower_brier_score_without_loss_of_auc(
    brier: float, auc: float, passed: bool
) -> None:
    result = champion_rule({"brier": difference("brier", brier), "auc": difference("auc", auc)})
    assert result.passed is passed
    assert result.text.startswith("passed: " if passed else "failed: ")
    assert f"brier: candidate {0.5 + brier:.4f}, rival 0.5000" in result.text


@pytest.mark.parametrize(
    ("results", "champion", "release", "text"),
    [
        ({"beats_baseline": PASSED}, None, True, "release ba9876543210"),
        ({"beats_baseline": PASSED, "beats_champion": PASSED}, CHAMPION, True, "release"),
        ({"beats_baseline": FAILED}, None, False, "not released: beats_baseline failed"),
        (
            {"beats_baseline": PASSED, "beats_champion": FAILED},
            CHAMPION,
            False,
            "not released: beats_champion failed",
        ),
    ],
)
def test_a_candidate_is_released_when_every_rule_passes(
    results: dict[str, GateResult], champion: Bundle | None, release: bool, text: str
) -> None:
    candidate = replace(CHAMPION, model_version="ba9876543210", threshold=0.4)
    decision = decide_release(candidate, champion, results, {})
    assert decision.release is release
    assert decision.text.startswith(text)


def test_does_not_release_the_current_champion() -> None:
    decision = decide_release(CHAMPION, CHAMPION, {"beats_champion": PASSED}, {})
    assert not decision.release
    assert decision.text == "is the champion already (0123456789ab)"


def test_does_not_release_a_withdrawn_version() -> None:
    candidate = replace(CHAMPION, model_version="ba9876543210", threshold=0.4)
    withdrawn = {"ba9876543210": "too many alarms"}
    decision = decide_release(candidate, CHAMPION, {"beats_champion": PASSED}, withdrawn)
    assert not decision.release
    assert decision.text == "not released: was withdrawn (too many alarms)"


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        (replace(CHAMPION, model_version="other", training={"delta_version": 2}), True),
        (replace(CHAMPION, metrics={"auc": {"value": 0.8}}), True),
        (replace(CHAMPION, threshold=0.4), False),
        (replace(CHAMPION, calibration=Calibration(1.0, 0.1)), False),
        (replace(CHAMPION, files={"model.txt": "b" * 64}), False),
    ],
    ids=["another table version", "other figures", "threshold", "calibration", "trees"],
)
def test_predicts_identically_ignores_metrics_and_provenance(changed: Bundle, same: bool) -> None:
    assert predicts_identically(changed, CHAMPION) is same
