"""The release gate: a candidate against baseline and champion, and the rollback target."""

from collections.abc import Collection, Mapping, Sequence

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
from diabetes_platform.modelling.gate_result import Decision, GateResult, MetricDifference
from diabetes_platform.modelling.recipe import RecipeError, recipe_from_json
from diabetes_platform.modelling.store import ModelVersion
from diabetes_platform.modelling.training_set import (
    BoolArray,
    FloatArray,
    TrainingSet,
    TrainingSetError,
    matching_rows,
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
_NO_CHAMPION = GateResult(passed=True, text="no champion yet: the baseline decides")


class RollbackError(ValueError):
    """No version can be restored; the message names the version and the allowed ones."""


def evaluate_against_baseline(rows: TrainingSet, candidate: OutOfFold) -> GateResult:
    """Compare the candidate's out-of-fold predictions of `rows` with the training prevalence."""
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
    """Compare the candidate (`bundle`) with the champion on the same folds of `rows`.

    The champion was trained on most of `rows`, so scoring it directly would flatter it. Instead,
    its recipe is fitted again for every fold, on `champion_rows` (the version of the training set
    that its bundle names) without the patients of that fold. Patients are matched by their
    measurements, because record ids change from batch to batch. Raises TrainingSetError if
    `champion_rows` are not the rows that the champion was trained on.
    """
    if champion is None:
        return _NO_CHAMPION
    if incomparable := _incomparable(bundle, champion):
        return incomparable
    version, training = champion.model_version, champion.training
    try:
        recipe = recipe_from_json(training["recipe"])
    except RecipeError as error:
        text = f"champion {version} cannot be trained again ({error}): the baseline decides"
        return GateResult(passed=True, text=text)
    if champion_rows is None:
        raise TrainingSetError(
            f"champion {version}: its training set, Delta version {training['delta_version']}, "
            "is required"
        )
    if champion_rows.content_hash != training["content_hash"]:
        raise TrainingSetError(
            f"champion {version}: the training set has content hash "
            f"{champion_rows.content_hash[:12]}; the champion was trained on "
            f"{training['content_hash'][:12]}"
        )
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
    are out of fold. The candidate needs the lower mean Brier score. The interval is that of the
    mean of the differences, paired by row.
    """
    if champion is None:
        return _NO_CHAMPION
    if incomparable := _incomparable(bundle, champion.bundle):
        return incomparable
    new = new_rows(champion_rows, rows)
    outcomes = rows.outcomes[new]
    count, positives = len(outcomes), int(outcomes.sum())
    if count < MIN_NEW_ROWS or min(positives, count - positives) < MIN_NEW_ROWS_PER_OUTCOME:
        return GateResult(
            passed=True,
            text=f"{count} rows are new to the champion, {positives} of them ill; a comparison "
            f"needs {MIN_NEW_ROWS}, {MIN_NEW_ROWS_PER_OUTCOME} of each outcome: the folds decide",
        )
    errors = ((candidate.probabilities[:, new] - outcomes) ** 2).mean(axis=0)
    rival_errors = (predict_proba(champion, rows.features[new]) - outcomes) ** 2
    half_width = _Z_95 * float((errors - rival_errors).std(ddof=1)) / float(np.sqrt(count))
    brier = _difference("brier", errors, rival_errors, half_width)
    return _gate_result(
        {"brier": brier},
        passed=brier.estimate < 0,
        rule=f"beats the champion on {count} rows that it was not trained on: Brier score lower",
    )


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
    return _gate_result(
        differences,
        passed=differences["brier"].estimate < 0 and differences["auc"].estimate >= -AUC_MARGIN,
        rule=f"beats the champion: Brier score lower, AUC not lower by more than {AUC_MARGIN}",
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
    count = len(by_candidate)
    test_share = 1 / candidate.fold_count
    variance = (by_candidate - by_rival).var(ddof=1) * (1 / count + test_share / (1 - test_share))
    half_width = float(t.ppf(0.975, count - 1) * np.sqrt(variance))
    return _difference(metric, by_candidate, by_rival, half_width)


def new_rows(trained_on: TrainingSet | None, rows: TrainingSet) -> BoolArray:
    """Return a mask (rows,) of the `rows` whose patients are not in `trained_on`.

    A patient is identified by measurements and by intake, so that a corrected outcome or
    measurement does not make a new patient.
    """
    if trained_on is None:
        return np.ones(len(rows), dtype=np.bool_)
    return np.array([match == (None, None) for match in matching_rows(rows, trained_on)])


def predicts_identically(candidate: Bundle, champion: Bundle) -> bool:
    """Return whether both bundles predict the same for every patient."""
    return (
        candidate.files == champion.files
        and candidate.features == champion.features
        and candidate.calibration == champion.calibration
        and candidate.threshold == champion.threshold
        and candidate.contract_fingerprint == champion.contract_fingerprint
    )


def decide_release(
    candidate: Bundle,
    champion: Bundle | None,
    results: Mapping[str, GateResult],
    withdrawn: Mapping[str, str],
) -> Decision:
    """Release a candidate that passes every rule, is not the champion and is not `withdrawn`.

    `withdrawn` maps each withdrawn version to the reason.
    """
    failed = [name for name, result in results.items() if not result.passed]
    version = candidate.model_version
    if failed:
        return Decision(release=False, text=f"not released: {', '.join(failed)} failed")
    if champion is not None and predicts_identically(candidate, champion):
        return Decision(release=False, text=_is_champion(champion))
    if version in withdrawn:
        return Decision(release=False, text=f"not released: was withdrawn ({withdrawn[version]})")
    return Decision(release=True, text=f"release {version}")


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
        return GateResult(passed=True, text=_is_champion(champion))
    if champion.contract_fingerprint != fingerprint():
        return GateResult(
            passed=True,
            text=f"champion {champion.model_version} is of contract "
            f"{champion.contract_fingerprint[:12]} and cannot score these rows: "
            "the baseline decides",
        )
    return None


def _is_champion(champion: Bundle) -> str:
    return f"is the champion already ({champion.model_version})"


def _difference(
    metric: str, candidate: FloatArray, rival: FloatArray, half_width: float
) -> MetricDifference:
    estimate = float((candidate - rival).mean())
    return MetricDifference(
        metric,
        candidate=float(candidate.mean()),
        rival=float(rival.mean()),
        estimate=estimate,
        low=estimate - half_width,
        high=estimate + half_width,
    )


def _gate_result(
    differences: Mapping[str, MetricDifference], *, passed: bool, rule: str
) -> GateResult:
    details = "; ".join(map(str, differences.values()))
    text = f"{'passed' if passed else 'failed'}: {rule}. {details}"
    brier = differences["brier"]
    return GateResult(
        passed, text, brier.estimate, brier.low, brier.high, tuple(differences.values())
    )
