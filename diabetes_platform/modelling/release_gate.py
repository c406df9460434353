"""The release gate: a candidate against baseline and champion, and the rollback target."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diabetes_platform.contract.bundle import Bundle
from diabetes_platform.contract.fields import fingerprint
from diabetes_platform.modelling.classifier import predict_proba
from diabetes_platform.modelling.cross_validation import (
    OutOfFold,
    cross_validate,
    metric_by_fold,
    prevalence_baseline,
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
"""How much lower the AUC of a better calibrated candidate may be than the champion's.

It is a fifth of the spread of the AUC between folds: smaller losses are within the noise of the
fold assignment, and the Brier score, which must fall, covers discrimination as well as calibration.
"""
MIN_NEW_ROWS = 30
MIN_NEW_ROWS_PER_OUTCOME = 5
"""With fewer new rows, or fewer rows of one outcome, chance alone would decide."""
_Z_95 = 1.96
"""Standard errors on either side of a 95 % interval."""


class RollbackError(ValueError):
    """No version can be restored; the message names the version and the allowed ones."""


@dataclass(frozen=True, slots=True)
class MetricDifference:
    """Candidate minus rival in the mean of one metric, with its 95 % interval.

    The field names are those of the candidate's stored `verdicts` metadata.
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
class GateResult:
    """The result of one rule of the gate: the difference in Brier score and the explanation.

    The three numbers are None if nothing could be compared. The field names are those of the
    candidate's stored `verdicts` metadata.
    """

    passed: bool
    text: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    differences: tuple[MetricDifference, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseDecision:
    """Whether to release the candidate; `release` is False for a candidate that is the champion."""

    release: bool
    text: str


def evaluate_against_baseline(rows: TrainingSet, candidate: OutOfFold) -> GateResult:
    """Compare the candidate's held-out predictions of `rows` with the training prevalence."""
    rival = prevalence_baseline(rows, candidate.folds)
    names = ("brier", "log_loss", "auc")
    return baseline_rule({name: metric_difference(name, rows, candidate, rival) for name in names})


def evaluate_against_champion(
    rows: TrainingSet,
    candidate: OutOfFold,
    bundle: Bundle,
    *,
    champion: Bundle | None,
    champion_rows: TrainingSet | None,
) -> GateResult:
    """Compare the candidate (`bundle`) with the champion on the same held-out rows.

    The champion was trained on most of `rows`, so scoring it directly would flatter it. Instead,
    its recipe is fitted again for every fold, on `champion_rows` (the version of the training set
    that its bundle names) without the patients of that fold. Patients are matched by their
    measurements, because record ids change from batch to batch. Raises TrainingSetError if
    `champion_rows` are not the rows that the champion was trained on.
    """
    if champion is None:
        return _no_champion()
    incomparable = _incomparable(bundle, champion)
    if incomparable is not None:
        return incomparable
    try:
        recipe = recipe_from_json(champion.training["recipe"])
    except RecipeError as error:
        return _unreadable_recipe(champion, str(error))
    if champion_rows is None:
        raise TrainingSetError(
            f"champion {champion.model_version}: its training set, Delta version "
            f"{champion.training['delta_version']}, is required"
        )
    _require_training_rows(champion, champion_rows)
    rival = cross_validate(rows, candidate.folds, recipe, trained_on=champion_rows)
    names = ("brier", "auc", "log_loss")
    return champion_rule({name: metric_difference(name, rows, candidate, rival) for name in names})


def evaluate_on_new_rows(
    rows: TrainingSet,
    candidate: OutOfFold,
    bundle: Bundle,
    *,
    champion: ModelVersion | None,
    champion_rows: TrainingSet | None,
) -> GateResult:
    """Compare candidate and champion on the patients of `rows` that `champion_rows` lacks.

    The champion was not trained on them, so it predicts as released; the candidate's predictions
    are out of fold. The interval is that of the mean of the differences, paired by row.
    """
    if champion is None:
        return _no_champion()
    incomparable = _incomparable(bundle, champion.bundle)
    if incomparable is not None:
        return incomparable
    new = new_rows(champion_rows, rows)
    count, positives = int(new.sum()), int(rows.outcomes[new].sum())
    if count < MIN_NEW_ROWS or min(positives, count - positives) < MIN_NEW_ROWS_PER_OUTCOME:
        return _too_few_new_rows(count, positives)
    outcomes = rows.outcomes[new].astype(np.float64)
    candidate_errors = _squared_errors(candidate.probabilities[:, new], outcomes)
    rival_probabilities = predict_proba(champion, rows.features[new])
    rival_errors = _squared_errors(rival_probabilities[None, :], outcomes)
    return new_rows_rule({"brier": _paired_difference(candidate_errors, rival_errors)}, count)


def evaluate_reproducibility(*, identical: bool) -> GateResult:
    """Pass a candidate if a second training on the same rows gave identical bytes."""
    result = "gives the same bytes" if identical else "gives other bytes"
    return GateResult(passed=identical, text=f"training again on the same rows {result}")


def baseline_rule(differences: Mapping[str, MetricDifference]) -> GateResult:
    """Pass a candidate that is significantly better than the prevalence alone.

    Both proper scores must be lower and the AUC higher, each with the whole 95 % interval. The AUC
    counts because in a small set a shrunken prevalence scores slightly better than the prevalence
    without discriminating between patients.
    """
    lower = all(differences[name].high < 0 for name in ("brier", "log_loss"))
    return _gate_result(
        differences,
        passed=lower and differences["auc"].low > 0,
        rule="beats the prevalence: Brier score and log loss lower, AUC higher, each with the "
        "whole 95 % interval",
    )


def champion_rule(differences: Mapping[str, MetricDifference]) -> GateResult:
    """Pass a candidate with a lower mean Brier score and an AUC not lower than the margin allows.

    An equal Brier score fails, because an equally good model is no reason for a release.
    """
    passed = differences["brier"].estimate < 0 and differences["auc"].estimate >= -AUC_MARGIN
    return _gate_result(
        differences,
        passed=passed,
        rule=f"beats the champion: Brier score lower, AUC not lower by more than {AUC_MARGIN}",
    )


def new_rows_rule(differences: Mapping[str, MetricDifference], rows: int) -> GateResult:
    """Pass a candidate with a lower mean Brier score on the rows that are new to the champion."""
    return _gate_result(
        differences,
        passed=differences["brier"].estimate < 0,
        rule=f"beats the champion on {rows} rows that it was not trained on: Brier score lower",
    )


def metric_difference(
    metric: str, rows: TrainingSet, candidate: OutOfFold, rival: OutOfFold
) -> MetricDifference:
    """Return candidate minus rival in one metric, paired fold by fold.

    The interval is Nadeau & Bengio's corrected resampled t (Machine Learning 52, 2003): folds
    share training rows, so the variance of their mean is (1 / folds + test rows / training rows)
    times the variance between folds.
    """
    from scipy.stats import t

    by_candidate = metric_by_fold(metric, rows, candidate)
    by_rival = metric_by_fold(metric, rows, rival)
    differences = by_candidate - by_rival
    test_share = 1 / (int(candidate.folds.max()) + 1)
    variance = differences.var(ddof=1) * (1 / len(differences) + test_share / (1 - test_share))
    half_width = float(t.ppf(0.975, len(differences) - 1) * np.sqrt(variance))
    estimate = float(differences.mean())
    return MetricDifference(
        metric=metric,
        candidate=float(by_candidate.mean()),
        rival=float(by_rival.mean()),
        estimate=estimate,
        low=estimate - half_width,
        high=estimate + half_width,
    )


def new_rows(trained_on: TrainingSet | None, rows: TrainingSet) -> BoolArray:
    """Return a mask (rows,) of the `rows` whose patients are not in `trained_on`.

    A patient is identified by measurements and by intake, so that a corrected outcome or
    measurement does not make a new patient.
    """
    if trained_on is None:
        return np.ones(len(rows), dtype=np.bool_)
    keys, intakes = set(trained_on.measurement_keys), set(trained_on.intakes) - {None}
    pairs = zip(rows.measurement_keys, rows.intakes, strict=True)
    return np.array([key not in keys and intake not in intakes for key, intake in pairs])


def predicts_identically(candidate: Bundle, champion: Bundle) -> bool:
    """Return whether both bundles predict the same for every patient."""
    return _behaviour(candidate) == _behaviour(champion)


def decide_release(
    candidate: Bundle,
    champion: Bundle | None,
    results: Mapping[str, GateResult],
    withdrawn: Mapping[str, str],
) -> ReleaseDecision:
    """Release a candidate that passes every rule, is not the champion and is not `withdrawn`.

    `withdrawn` maps each withdrawn version to the reason.
    """
    failed = [name for name, result in results.items() if not result.passed]
    if failed:
        return ReleaseDecision(release=False, text=f"not released: {', '.join(failed)} failed")
    if champion is not None and predicts_identically(candidate, champion):
        return ReleaseDecision(release=False, text=_already_champion(champion).text)
    if candidate.model_version in withdrawn:
        reason = withdrawn[candidate.model_version]
        return ReleaseDecision(release=False, text=f"not released: was withdrawn ({reason})")
    return ReleaseDecision(release=True, text=f"release {candidate.model_version}")


def rollback_target(
    released: Sequence[str],
    current: str | None,
    withdrawn: Collection[str],
    requested: str | None,
) -> str:
    """Return the version that a rollback restores: the newest before `current`, or `requested`.

    `released` are the previous champions, newest first. A withdrawn version is restored only if
    it is requested. Raises RollbackError if no version qualifies.
    """
    if current is None:
        raise RollbackError("no model was released yet: nothing to roll back")
    previous = [version for version in dict.fromkeys(released) if version != current]
    if requested is not None:
        if requested not in previous:
            raise RollbackError(
                f"version {requested} was not released before; "
                f"allowed: {', '.join(previous) or 'none'}"
            )
        return requested
    usable = [version for version in previous if version not in withdrawn]
    if not usable:
        raise RollbackError(f"no earlier champion than {current} to roll back to")
    return usable[0]


def _incomparable(candidate: Bundle, champion: Bundle) -> GateResult | None:
    """Return the result for a candidate that cannot be compared with the champion, else None."""
    if predicts_identically(candidate, champion):
        return _already_champion(champion)
    if champion.contract_fingerprint != fingerprint():
        return _champion_of_another_contract(champion)
    return None


def _no_champion() -> GateResult:
    return GateResult(passed=True, text="no champion yet: the baseline decides")


def _champion_of_another_contract(champion: Bundle) -> GateResult:
    return GateResult(
        passed=True,
        text=f"champion {champion.model_version} is of contract "
        f"{champion.contract_fingerprint[:12]} and cannot score these rows: the baseline decides",
    )


def _already_champion(champion: Bundle) -> GateResult:
    return GateResult(passed=True, text=f"is the champion already ({champion.model_version})")


def _unreadable_recipe(champion: Bundle, reason: str) -> GateResult:
    return GateResult(
        passed=True,
        text=f"champion {champion.model_version} cannot be trained again ({reason}): "
        "the baseline decides",
    )


def _too_few_new_rows(rows: int, positives: int) -> GateResult:
    return GateResult(
        passed=True,
        text=f"{rows} rows are new to the champion, {positives} of them ill; a comparison needs "
        f"{MIN_NEW_ROWS}, {MIN_NEW_ROWS_PER_OUTCOME} of each outcome: the folds decide",
    )


def _require_training_rows(champion: Bundle, rows: TrainingSet) -> None:
    expected = champion.training["content_hash"]
    if rows.content_hash != expected:
        raise TrainingSetError(
            f"champion {champion.model_version}: the training set has content hash "
            f"{rows.content_hash[:12]}; the champion was trained on {expected[:12]}"
        )


def _squared_errors(probabilities: FloatArray, outcomes: FloatArray) -> FloatArray:
    """Return each row's squared error, (rows,), the mean over repeats (repeats, rows)."""
    return np.asarray(((probabilities - outcomes) ** 2).mean(axis=0))


def _paired_difference(candidate: FloatArray, rival: FloatArray) -> MetricDifference:
    differences = candidate - rival
    half_width = _Z_95 * float(differences.std(ddof=1)) / float(np.sqrt(len(differences)))
    estimate = float(differences.mean())
    return MetricDifference(
        metric="brier",
        candidate=float(candidate.mean()),
        rival=float(rival.mean()),
        estimate=estimate,
        low=estimate - half_width,
        high=estimate + half_width,
    )


def _behaviour(bundle: Bundle) -> tuple[object, ...]:
    return (
        bundle.files,
        bundle.features,
        bundle.calibration,
        bundle.threshold,
        bundle.contract_fingerprint,
    )


def _gate_result(
    differences: Mapping[str, MetricDifference], *, passed: bool, rule: str
) -> GateResult:
    details = "; ".join(str(difference) for difference in differences.values())
    return GateResult(
        passed=passed,
        text=f"{'passed' if passed else 'failed'}: {rule}. {details}",
        estimate=differences["brier"].estimate,
        low=differences["brier"].low,
        high=differences["brier"].high,
        differences=tuple(differences.values()),
    )
