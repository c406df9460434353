"""Cross-validation: grouped stratified folds, out-of-fold predictions and their metrics."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from diabetes_platform.contract.fields import OUTCOME
from diabetes_platform.modelling.classifier import calibrate, fit_decision, raw_scores, train_trees
from diabetes_platform.modelling.evaluation_metrics import DECISION_METRICS, PROBABILITY_METRICS
from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.training_set import (
    BoolArray,
    FloatArray,
    IntArray,
    TrainingSet,
    TrainingSetError,
    matching_rows,
    training_set,
)

BOOTSTRAP_SAMPLES = 500
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """Out-of-fold predictions; each array is (repeats, rows)."""

    folds: IntArray
    probabilities: FloatArray
    decisions: BoolArray

    @property
    def fold_count(self) -> int:
        """The number of folds of each repeat."""
        return _fold_count(self.folds)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric and its 95 % interval."""

    value: float
    low: float
    high: float


def assign_folds(rows: TrainingSet, recipe: Recipe) -> IntArray:
    """Return the fold of each row, (repeats, rows), numbered 0 to `recipe.folds` - 1.

    Rows with identical measurements belong to one patient and share a fold; every fold has both
    outcomes. Raises TrainingSetError if a class has fewer patients than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    first, patient = rows.patients()
    outcomes = rows.outcomes[first]
    for outcome in OUTCOME.allowed or ():
        patients = int((outcomes == outcome).sum())
        if patients < recipe.folds:
            raise TrainingSetError(
                f"{OUTCOME.name}: {patients} patients with {outcome}; "
                f"allowed: at least {recipe.folds} (one for each fold)"
            )
    folds = np.empty((recipe.repeats, len(rows)), dtype=np.int64)
    for repeat in range(recipe.repeats):
        splitter = StratifiedKFold(recipe.folds, shuffle=True, random_state=recipe.seed + repeat)
        fold_of_patient = np.empty(len(first), dtype=np.int64)
        for fold, (_, members) in enumerate(splitter.split(outcomes, outcomes)):
            fold_of_patient[members] = fold
        folds[repeat] = fold_of_patient[patient]
    return folds


def match_folds(
    rows: TrainingSet, reference: TrainingSet, folds: IntArray, fold_count: int
) -> IntArray:
    """Return the fold of each row of `rows`, (repeats, rows), consistent with `reference`.

    A patient who is also in `reference` gets the same fold, even if the intake was corrected, so
    that no model is scored on a patient it was trained on. All other patients are distributed by
    their measurement keys; they are only used for training.
    """
    matched = np.empty((len(folds), len(rows)), dtype=np.int64)
    for row, (by_key, by_intake) in enumerate(matching_rows(rows, reference)):
        match = by_intake if by_key is None else by_key
        default = int(rows.measurement_keys[row][:8], 16) % fold_count
        matched[:, row] = default if match is None else folds[:, match]
    return matched


def without_ambiguous_rows(rows: TrainingSet, reference: TrainingSet) -> TrainingSet:
    """Return `rows` without those that match two patients of `reference`.

    Such a row has the measurements of one patient and the intake of another, who may be in
    another fold.
    """
    keys = reference.measurement_keys
    unambiguous = [
        by_key is None or by_intake is None or keys[by_key] == keys[by_intake]
        for by_key, by_intake in matching_rows(rows, reference)
    ]
    if all(unambiguous):
        return rows
    members = np.flatnonzero(unambiguous)
    ids = [rows.record_ids[row] for row in members]
    return training_set(rows.features[members], rows.outcomes[members], ids)


def cross_validate(
    rows: TrainingSet, folds: IntArray, recipe: Recipe, *, trained_on: TrainingSet | None = None
) -> OutOfFold:
    """Score `rows` fold by fold with models trained on the other folds of `trained_on`.

    `folds` is (repeats, rows) from `assign_folds`. `trained_on` defaults to `rows`; a patient in
    both is left out of the training for its own fold. Trees, calibration and threshold never see
    the fold they are evaluated on. Raises TrainingSetError if the remaining rows have only one
    outcome.
    """
    fold_count = _fold_count(folds)
    train = rows if trained_on is None else without_ambiguous_rows(trained_on, rows)
    train_folds = folds if trained_on is None else match_folds(train, rows, folds, fold_count)
    probabilities = np.empty(folds.shape)
    decisions = np.empty(folds.shape, dtype=np.bool_)
    for repeat, (row_folds, train_row_folds) in enumerate(zip(folds, train_folds, strict=True)):
        inner = _inner_scores(train, train_row_folds, recipe, fold_count)
        for fold in range(fold_count):
            in_train, in_fold = train_row_folds != fold, row_folds == fold
            outcomes = train.outcomes[in_train]
            trees = train_trees(train.features[in_train], outcomes, recipe)
            calibration, threshold = fit_decision(inner[fold, in_train], outcomes)
            scores = raw_scores(trees, rows.features[in_fold])
            probabilities[repeat, in_fold] = calibrate(calibration, scores)
            decisions[repeat, in_fold] = probabilities[repeat, in_fold] >= threshold
    return OutOfFold(folds, probabilities, decisions)


def prevalence_baseline(rows: TrainingSet, folds: IntArray) -> OutOfFold:
    """Predict the prevalence of the other folds for every row: the best guess without a model.

    `folds` is (repeats, rows).
    """
    probabilities = np.empty(folds.shape)
    for repeat, row_folds in enumerate(folds):
        for fold in range(_fold_count(folds)):
            in_fold = row_folds == fold
            probabilities[repeat, in_fold] = rows.outcomes[~in_fold].mean()
    return OutOfFold(folds, probabilities, decisions=probabilities >= 1 - probabilities)


def evaluate(rows: TrainingSet, predictions: OutOfFold, *, seed: int) -> dict[str, Estimate]:
    """Return the metrics of the predictions of `rows`, means over repeats, with 95 % intervals.

    The intervals are percentiles of a bootstrap over patients, drawn within each outcome as pROC
    does (Robin et al. 2011), with all records of a patient drawn together. They describe the
    sampling of these patients, not the variation between models.
    """
    weights = _bootstrap_weights(rows, seed)
    repeats = range(len(predictions.folds))
    estimates = {}
    for name in (*PROBABILITY_METRICS, *DECISION_METRICS):
        by_repeat = [_metric(name, rows, predictions, repeat, weights) for repeat in repeats]
        values = np.mean(by_repeat, axis=0)
        low, high = np.percentile(values[1:], _INTERVAL)
        estimates[name] = Estimate(float(values[0]), float(low), float(high))
    return estimates


def metric_by_fold(name: str, rows: TrainingSet, predictions: OutOfFold) -> FloatArray:
    """Return one metric of every fold, (repeats * folds,), repeat by repeat."""
    values = [
        _metric(name, rows, predictions, repeat, (row_folds == fold)[None, :])[0]
        for repeat, row_folds in enumerate(predictions.folds)
        for fold in range(predictions.fold_count)
    ]
    return np.array(values)


def _fold_count(folds: IntArray) -> int:
    return int(folds.max()) + 1


def _inner_scores(
    rows: TrainingSet, folds: IntArray, recipe: Recipe, fold_count: int
) -> FloatArray:
    """Return (folds, rows): a row's score by a model trained without that fold and the row's fold.

    The model without folds i and j scores j for the calibration that is evaluated on i, and i for
    the one that is evaluated on j. This takes half the fits of one inner cross-validation per fold.
    """
    scores = np.full((fold_count, len(rows)), np.nan)
    for first, second in combinations(range(fold_count), 2):
        in_first, in_second = folds == first, folds == second
        in_train = ~(in_first | in_second)
        trees = train_trees(rows.features[in_train], rows.outcomes[in_train], recipe)
        scores[first, in_second] = raw_scores(trees, rows.features[in_second])
        scores[second, in_first] = raw_scores(trees, rows.features[in_first])
    return scores


def _metric(
    name: str, rows: TrainingSet, predictions: OutOfFold, repeat: int, weights: FloatArray
) -> FloatArray:
    weights = np.asarray(weights, dtype=np.float64)
    if name in DECISION_METRICS:
        return DECISION_METRICS[name](predictions.decisions[repeat], rows.outcomes, weights)
    return PROBABILITY_METRICS[name](predictions.probabilities[repeat], rows.outcomes, weights)


def _bootstrap_weights(rows: TrainingSet, seed: int) -> FloatArray:
    """Return weights (1 + samples, rows): all ones, then how often each sample drew a row."""
    generator = np.random.default_rng(seed)
    first, patient = rows.patients()
    weights = np.ones((1 + BOOTSTRAP_SAMPLES, len(first)))
    for outcome in (0, 1):
        members = np.flatnonzero(rows.outcomes[first] == outcome)
        shares = np.full(len(members), 1 / len(members))
        weights[1:, members] = generator.multinomial(len(members), shares, size=BOOTSTRAP_SAMPLES)
    return weights[:, patient]
