"""Whether a candidate may be released: pure decisions on the differences between held-out scores.

Computing the differences is not here but in `comparison.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from diabetes_platform.contract.bundle import Bundle

AUC_MARGIN = 0.01
"""How much ranking a better calibrated candidate may give up against the champion.

A fifth of the spread of the AUC between folds: smaller losses cannot be told from the draw of the
folds, and the Brier score, which must fall, pays for discrimination as well as for calibration.
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """Candidate minus rival in the mean of one measure over the same folds.

    `low` and `high` bound its 95 % interval by the corrected resampled t-test.
    """

    metric: str
    candidate: float
    rival: float
    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"{self.metric}: candidate {self.candidate:.4f}, rival {self.rival:.4f}, difference "
            f"{self.estimate:+.4f} (95 % interval {self.low:+.4f} to {self.high:+.4f})"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule's answer: the difference in Brier score it rests on, and the reasons in words.

    Where there was nothing to compare, the three numbers are None.
    """

    passed: bool
    text: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with the candidate. `release` is False for a candidate that is the champion."""

    release: bool
    text: str


def judge_against_baseline(differences: Mapping[str, Difference]) -> Verdict:
    """Pass a candidate that is surely better than the prevalence alone.

    Both proper scores must be lower and the AUC higher, each with the whole 95 % interval. The AUC
    is asked for because in a small set a shrunken prevalence alone scores a little better than
    the prevalence, without telling one patient from another.
    """
    lower = all(differences[name].high < 0 for name in ("brier", "log_loss"))
    return _verdict(
        differences,
        passed=lower and differences["auc"].low > 0,
        rule="beats the prevalence: Brier score and log loss lower, AUC higher, each with the "
        "whole 95 % interval",
    )


def judge_against_champion(differences: Mapping[str, Difference]) -> Verdict:
    """Pass a candidate with a lower mean Brier score and an AUC not below by the margin.

    An equal Brier score fails: there is no reason to change a model for another as good.
    """
    passed = differences["brier"].estimate < 0 and differences["auc"].estimate >= -AUC_MARGIN
    return _verdict(
        differences,
        passed=passed,
        rule=f"beats the champion: Brier score lower, AUC not lower by more than {AUC_MARGIN}",
    )


def judge_on_newest_rows(differences: Mapping[str, Difference], rows: int) -> Verdict:
    """Pass a candidate with a lower mean Brier score on the rows that are new to the champion."""
    return _verdict(
        differences,
        passed=differences["brier"].estimate < 0,
        rule=f"beats the champion on {rows} rows that it has never learned from: Brier score lower",
    )


def too_few_newest_rows(rows: int, ill: int, *, needed: int, of_each: int) -> Verdict:
    """Pass a candidate that brings hardly a row that the champion does not know."""
    return Verdict(
        passed=True,
        text=f"{rows} rows are new to the champion, {ill} of them ill; judged from {needed} on, "
        f"{of_each} of each outcome: the folds decide",
    )


def no_champion() -> Verdict:
    """Pass the first candidate: only the baseline stands before it."""
    return Verdict(passed=True, text="no champion yet: the baseline decides")


def foreign_champion(champion: Bundle) -> Verdict:
    """Pass a candidate whose champion was made for other fields and cannot score these rows."""
    return Verdict(
        passed=True,
        text=f"champion {champion.model_version} is of contract "
        f"{champion.contract_fingerprint[:12]} and cannot score these rows: the baseline decides",
    )


def already_champion(champion: Bundle) -> Verdict:
    """Pass a candidate that is the released model: there is nothing to release."""
    return Verdict(passed=True, text=f"is the champion already ({champion.model_version})")


def unreadable_champion(champion: Bundle, why: str) -> Verdict:
    """Pass a candidate whose champion's recipe this version of training cannot fit again."""
    return Verdict(
        passed=True,
        text=f"champion {champion.model_version} cannot be trained again ({why}): "
        "the baseline decides",
    )


def judge_reproduction(*, same: bool) -> Verdict:
    """Pass a candidate that training again on the same rows gave once more, byte for byte."""
    text = "gives the same bytes" if same else "gives other bytes"
    return Verdict(passed=same, text=f"training again on the same rows {text}")


def same_model(candidate: Bundle, champion: Bundle) -> bool:
    """Tell whether both give every patient the same answer, whatever their metrics say."""
    return _behaviour(candidate) == _behaviour(champion)


def should_release(
    candidate: Bundle,
    champion: Bundle | None,
    verdicts: Mapping[str, Verdict],
    withdrawn: Mapping[str, str],
) -> Decision:
    """Release a candidate that passes every rule, is not the champion already and not `withdrawn`.

    `withdrawn` says why, by version, each model that a person has put out of use was.
    """
    failed = [name for name, verdict in verdicts.items() if not verdict.passed]
    if failed:
        return Decision(release=False, text=f"not released: {', '.join(failed)} failed")
    if champion is not None and same_model(candidate, champion):
        return Decision(release=False, text=already_champion(champion).text)
    if candidate.model_version in withdrawn:
        why = withdrawn[candidate.model_version]
        return Decision(release=False, text=f"not released: was withdrawn ({why})")
    return Decision(release=True, text=f"release {candidate.model_version}")


def _behaviour(bundle: Bundle) -> tuple[object, ...]:
    return (
        bundle.files,
        bundle.features,
        bundle.calibration,
        bundle.threshold,
        bundle.contract_fingerprint,
    )


def _verdict(differences: Mapping[str, Difference], *, passed: bool, rule: str) -> Verdict:
    found = "; ".join(str(difference) for difference in differences.values())
    return Verdict(
        passed=passed,
        text=f"{'passed' if passed else 'failed'}: {rule}. {found}",
        estimate=differences["brier"].estimate,
        low=differences["brier"].low,
        high=differences["brier"].high,
        differences=tuple(differences.values()),
    )
