"""Candidate against baseline and champion, scored on the same held-out patients."""

import numpy as np

from diabetes_platform.contract.bundle import Bundle
from diabetes_platform.contract.fingerprint import fingerprint
from diabetes_platform.modelling.cross_validation import OutOfFold, baseline, cross_validate
from diabetes_platform.modelling.evaluation import by_fold
from diabetes_platform.modelling.gate import (
    Difference,
    Verdict,
    already_champion,
    foreign_champion,
    judge_against_baseline,
    judge_against_champion,
    no_champion,
    same_model,
    unreadable_champion,
)
from diabetes_platform.modelling.recipe import RecipeError, recipe_from_json
from diabetes_platform.modelling.training_set import TrainingSet, TrainingSetError


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
