"""The release gate: a candidate against baseline and champion, and the rollback target."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diabetes_platform.contract.bundle import Bundle
from diabetes_platform.contract.fields import fingerprint
from diabetes_platform.modelling.classifier import answers
from diabetes_platform.modelling.cross_validation import (
    OutOfFold,
    baseline,
    by_fold,
    cross_validate,
)
from diabetes_platform.modelling.recipe import RecipeError, recipe_from_json
from diabetes_platform.modelling.store import ModelVersion
from diabetes_platform.modelling.training_set import (
    BoolArray,
    FloatArray,
    TrainingSet,
    TrainingSetError,
)

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


def beats_baseline(rows: TrainingSet, candidate: OutOfFold) -> Verdict:
    """Compare the candidate's held-out predictions of `rows` with the training prevalence."""
    rival = baseline(rows, candidate.folds)
    return judge_against_baseline(
        {name: difference(name, rows, candidate, rival) for name in ("brier", "log_loss", "auc")}
    )


def beats_champion(
    rows: TrainingSet,
    candidate: OutOfFold,
    bundle: Bundle,
    *,
    champion: Bundle | None,
    champion_rows: TrainingSet | None,
) -> Verdict:
    """Compare the candidate (`bundle`) with the champion on the same held-out rows.

    The champion itself has seen most of `rows`, so scoring it as it stands would flatter it.
    Its recipe is fitted again for every fold, on `champion_rows` (the version of the training set
    that its bundle names) without the patients of that fold. Patients are told by their
    measurements, since record ids change from batch to batch. Raises TrainingSetError where
    `champion_rows` are not those that the champion was trained on.
    """
    if champion is None:
        return no_champion()
    beyond = beyond_comparison(bundle, champion)
    if beyond is not None:
        return beyond
    try:
        recipe = recipe_from_json(champion.training["recipe"])
    except RecipeError as error:
        return unreadable_champion(champion, str(error))
    if champion_rows is None:
        raise TrainingSetError(
            f"champion {champion.model_version}: training set: given none, "
            f"allowed Delta version {champion.training['delta_version']}"
        )
    _require_its_rows(champion, champion_rows)
    rival = cross_validate(rows, candidate.folds, recipe, trained_on=champion_rows)
    return judge_against_champion(
        {name: difference(name, rows, candidate, rival) for name in ("brier", "auc", "log_loss")}
    )


def beyond_comparison(candidate: Bundle, champion: Bundle) -> Verdict | None:
    """Return the verdict on a candidate that cannot be compared with the champion; else None."""
    if same_model(candidate, champion):
        return already_champion(champion)
    if champion.contract_fingerprint != fingerprint():
        return foreign_champion(champion)
    return None


def difference(
    metric: str, rows: TrainingSet, candidate: OutOfFold, rival: OutOfFold
) -> Difference:
    """Return candidate minus rival in one measure, paired fold by fold.

    The interval is Nadeau & Bengio's corrected resampled t (Machine Learning 52, 2003): folds
    share training rows, so the variance of their mean is (1 / folds + test rows / training rows)
    times the variance between folds.
    """
    from scipy.stats import t

    of_candidate, of_rival = (by_fold(metric, rows, each) for each in (candidate, rival))
    differences = of_candidate - of_rival
    tested = 1 / (int(candidate.folds.max()) + 1)
    spread = differences.var(ddof=1) * (1 / len(differences) + tested / (1 - tested))
    reach = float(t.ppf(0.975, len(differences) - 1) * np.sqrt(spread))
    estimate = float(differences.mean())
    return Difference(
        metric=metric,
        candidate=float(of_candidate.mean()),
        rival=float(of_rival.mean()),
        estimate=estimate,
        low=estimate - reach,
        high=estimate + reach,
    )


def _require_its_rows(champion: Bundle, rows: TrainingSet) -> None:
    expected = champion.training["content_hash"]
    if rows.content_hash != expected:
        raise TrainingSetError(
            f"champion {champion.model_version}: training set: given content hash "
            f"{rows.content_hash[:12]}, allowed {expected[:12]}"
        )


FEWEST = 30
FEWEST_OF_EACH = 5
"""With fewer new rows, or fewer of one outcome, chance alone would decide."""
_REACH = 1.96
"""Standard errors on either side of a 95 % interval."""


def beats_champion_on_newest_rows(
    rows: TrainingSet,
    candidate: OutOfFold,
    bundle: Bundle,
    *,
    champion: ModelVersion | None,
    champion_rows: TrainingSet | None,
) -> Verdict:
    """Compare both on the patients of `rows` who are not among `champion_rows`.

    The champion answers as it is released: it has never seen them. The candidate's answers are
    those of the models that were trained without the patient's fold. The interval is that of the
    mean of paired differences, row by row.
    """
    if champion is None:
        return no_champion()
    beyond = beyond_comparison(bundle, champion.bundle)
    if beyond is not None:
        return beyond
    new = new_to(champion_rows, rows)
    count, ill = int(new.sum()), int(rows.outcomes[new].sum())
    if count < FEWEST or min(ill, count - ill) < FEWEST_OF_EACH:
        return too_few_newest_rows(count, ill, needed=FEWEST, of_each=FEWEST_OF_EACH)
    rival = answers(champion, rows.features[new])
    outcomes = rows.outcomes[new].astype(np.float64)
    mine = candidate.probabilities[:, new]
    found = {"brier": _difference(_squared(mine, outcomes), _squared(rival[None, :], outcomes))}
    return judge_on_newest_rows(found, count)


def new_to(known: TrainingSet | None, rows: TrainingSet) -> BoolArray:
    """Return which of `rows`, (rows,), are of patients that `known` has not, by what tells them.

    A patient is known by measurements, as duplicates are, and by intake: a corrected outcome, or
    a corrected measurement, makes no new patient.
    """
    if known is None:
        return np.ones(len(rows), dtype=np.bool_)
    keys, intakes = set(known.measurement_keys), set(known.intakes) - {None}
    pairs = zip(rows.measurement_keys, rows.intakes, strict=True)
    return np.array([key not in keys and intake not in intakes for key, intake in pairs])


def _squared(probabilities: FloatArray, outcomes: FloatArray) -> FloatArray:
    """Return each row's squared error, (rows,), the mean over repeats (repeats, rows)."""
    return np.asarray(((probabilities - outcomes) ** 2).mean(axis=0))


def _difference(candidate: FloatArray, rival: FloatArray) -> Difference:
    paired = candidate - rival
    reach = _REACH * float(paired.std(ddof=1)) / float(np.sqrt(len(paired)))
    estimate = float(paired.mean())
    return Difference(
        metric="brier",
        candidate=float(candidate.mean()),
        rival=float(rival.mean()),
        estimate=estimate,
        low=estimate - reach,
        high=estimate + reach,
    )


class RollbackError(ValueError):
    """There is no such version to put back; the message names given and allowed."""


def to_put_back(
    released: Sequence[str], current: str | None, withdrawn: Collection[str], asked: str | None
) -> str:
    """Return the version that follows a rollback: the newest before `current`, or `asked`.

    `released` are the champions of the past, newest first. One that was itself withdrawn comes
    back only where it is asked for by name. Raises RollbackError where there is none.
    """
    if current is None:
        raise RollbackError("no model was released yet: nothing to roll back")
    before = [version for version in dict.fromkeys(released) if version != current]
    if asked is not None:
        if asked not in before:
            raise RollbackError(f"version: given {asked}, allowed {', '.join(before) or 'none'}")
        return asked
    usable = [version for version in before if version not in withdrawn]
    if not usable:
        raise RollbackError(f"no champion before {current} to put back")
    return usable[0]
