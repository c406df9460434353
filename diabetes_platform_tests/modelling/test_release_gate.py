"""The release rules as tables of examples."""

from dataclasses import replace

import pytest

from diabetes_platform.contract.bundle import Bundle, Calibration
from diabetes_platform.modelling.release_gate import (
    AUC_MARGIN,
    Difference,
    Verdict,
    already_champion,
    foreign_champion,
    judge_against_baseline,
    judge_against_champion,
    no_champion,
    same_model,
    should_release,
)

PASSED, FAILED = Verdict(passed=True, text="better"), Verdict(passed=False, text="worse")
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


def difference(metric: str, estimate: float, reach: float = 0.0) -> Difference:
    return Difference(
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
def test_the_baseline_must_be_beaten_for_sure_and_in_every_measure(
    brier: float, log_loss: float, auc: float, reach: float, passed: bool
) -> None:
    verdict = judge_against_baseline(
        {
            "brier": difference("brier", brier, reach),
            "log_loss": difference("log_loss", log_loss, reach),
            "auc": difference("auc", auc, reach),
        }
    )
    assert verdict.passed is passed
    assert (verdict.estimate, verdict.low, verdict.high) == (brier, brier - reach, brier + reach)


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
def test_the_champion_must_be_beaten_in_the_brier_score_without_losing_the_ranking(
    brier: float, auc: float, passed: bool
) -> None:
    verdict = judge_against_champion(
        {"brier": difference("brier", brier), "auc": difference("auc", auc)}
    )
    assert verdict.passed is passed
    assert verdict.text.startswith("passed: " if passed else "failed: ")
    assert f"brier: candidate {0.5 + brier:.4f}, rival 0.5000" in verdict.text


@pytest.mark.parametrize(
    "verdict",
    [no_champion(), foreign_champion(CHAMPION), already_champion(CHAMPION)],
    ids=["none", "of another contract", "the candidate itself"],
)
def test_where_there_is_nothing_to_compare_the_verdict_passes_without_numbers(
    verdict: Verdict,
) -> None:
    assert verdict.passed
    assert (verdict.estimate, verdict.low, verdict.high) == (None, None, None)


@pytest.mark.parametrize(
    ("verdicts", "champion", "release", "text"),
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
    verdicts: dict[str, Verdict], champion: Bundle | None, release: bool, text: str
) -> None:
    candidate = replace(CHAMPION, model_version="ba9876543210", threshold=0.4)
    decision = should_release(candidate, champion, verdicts, {})
    assert decision.release is release
    assert decision.text.startswith(text)


def test_the_champion_itself_is_not_released_again() -> None:
    decision = should_release(CHAMPION, CHAMPION, {"beats_champion": PASSED}, {})
    assert not decision.release
    assert decision.text == "is the champion already (0123456789ab)"


def test_what_a_person_has_withdrawn_is_not_released_again() -> None:
    candidate = replace(CHAMPION, model_version="ba9876543210", threshold=0.4)
    withdrawn = {"ba9876543210": "too many alarms"}
    decision = should_release(candidate, CHAMPION, {"beats_champion": PASSED}, withdrawn)
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
def test_models_are_the_same_when_they_answer_the_same(changed: Bundle, same: bool) -> None:
    assert same_model(changed, CHAMPION) is same
