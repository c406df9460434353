"""Cross-validation: grouped stratified folds, out-of-fold predictions and their metrics."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from diabetes_platform.contract.fields import OUTCOME
from diabetes_platform.modelling.classifier import (
    calibrated,
    platt,
    raw_scores,
    train_trees,
    youden,
)
from diabetes_platform.modelling.metrics import OF_DECISION, OF_FOLD, OF_PROBABILITY
from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.training_set import (
    BoolArray,
    FloatArray,
    IntArray,
    TrainingSet,
    TrainingSetError,
    training_set,
)


def assign_folds(rows: TrainingSet, recipe: Recipe) -> IntArray:
    """Return the fold of each row, (repeats, rows), numbered 0 to `recipe.folds` - 1.

    Rows with identical measurements are one patient and share a fold; every fold has both
    outcomes. Raises TrainingSetError where a class has fewer patients than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    _, first, patient = np.unique(rows.measurement_keys, return_index=True, return_inverse=True)
    outcomes = rows.outcomes[first]
    _require_both_classes(outcomes, recipe.folds)
    folds = np.empty((recipe.repeats, len(rows)), dtype=np.int64)
    for repeat in range(recipe.repeats):
        splitter = StratifiedKFold(recipe.folds, shuffle=True, random_state=recipe.seed + repeat)
        fold_of_patient = np.empty(len(first), dtype=np.int64)
        for fold, (_, held_out) in enumerate(splitter.split(outcomes, outcomes)):
            fold_of_patient[held_out] = fold
        folds[repeat] = fold_of_patient[patient]
    return folds


def folds_of(rows: TrainingSet, other: TrainingSet, folds: IntArray, count: int) -> IntArray:
    """Return the fold of each row of `rows`, (repeats, rows), that agrees with those of `other`.

    A patient who is also in `other` gets that fold, so that no model is scored on a patient it was
    trained on: also one whose intake has other measurements by now. The rest are spread by their
    content: they are never scored, only trained on.
    """
    agreed = np.empty((len(folds), len(rows)), dtype=np.int64)
    for row, (same, corrected) in enumerate(_found_again(rows, other)):
        shared = corrected if same is None else same
        spread = int(rows.measurement_keys[row][:8], 16) % count
        agreed[:, row] = spread if shared is None else folds[:, shared]
    return agreed


def told_apart(rows: TrainingSet, other: TrainingSet) -> TrainingSet:
    """Return `rows` without those that are two patients of `other`, who may be in two folds.

    Such a row has the measurements of one and was of the other's intake before its correction.
    """
    keys = other.measurement_keys
    one = [
        same is None or corrected is None or keys[same] == keys[corrected]
        for same, corrected in _found_again(rows, other)
    ]
    if all(one):
        return rows
    members = np.flatnonzero(one)
    ids = [rows.record_ids[row] for row in members]
    return training_set(rows.features[members], rows.outcomes[members], ids)


def _found_again(rows: TrainingSet, other: TrainingSet) -> Iterator[tuple[int | None, int | None]]:
    """Yield for each row where `other` has its measurements, and where it has its intake."""
    by_key = {key: row for row, key in enumerate(other.measurement_keys)}
    by_intake = {intake: row for row, intake in enumerate(other.intakes) if intake is not None}
    for key, intake in zip(rows.measurement_keys, rows.intakes, strict=True):
        yield by_key.get(key), None if intake is None else by_intake.get(intake)


def _require_both_classes(outcomes: IntArray, folds: int) -> None:
    for outcome in OUTCOME.allowed or ():
        given = int((outcomes == outcome).sum())
        if given < folds:
            raise TrainingSetError(
                f"{OUTCOME.name}: given {given} patients with {outcome}, "
                f"allowed at least {folds} (one for each fold)"
            )


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """What was predicted for each row while it was held out; each array is (repeats, rows)."""

    folds: IntArray
    probabilities: FloatArray
    decisions: BoolArray


def cross_validate(
    rows: TrainingSet, folds: IntArray, recipe: Recipe, *, trained_on: TrainingSet | None = None
) -> OutOfFold:
    """Score `rows` fold by fold with models trained on the other folds of `trained_on`.

    `folds` is (repeats, rows) as `assign_folds` gives it. `trained_on` is `rows` itself where it
    is not given; a patient in both is left out of the training for the fold it is scored in.
    Trees, calibration and threshold never see the fold they are judged on. Raises
    TrainingSetError where the rows left to train on have one outcome only.
    """
    count = int(folds.max()) + 1
    source = rows if trained_on is None else told_apart(trained_on, rows)
    source_folds = folds if trained_on is None else folds_of(source, rows, folds, count)
    probabilities = np.empty(folds.shape)
    decisions = np.empty(folds.shape, dtype=np.bool_)
    for repeat, (held_in, known_in) in enumerate(zip(folds, source_folds, strict=True)):
        inner = _inner_scores(source, known_in, recipe, count)
        for fold in range(count):
            known, held_out = known_in != fold, held_in == fold
            trees = train_trees(source.features[known], source.outcomes[known], recipe)
            calibration = platt(inner[fold, known], source.outcomes[known])
            threshold = youden(calibrated(calibration, inner[fold, known]), source.outcomes[known])
            scores = raw_scores(trees, rows.features[held_out])
            probabilities[repeat, held_out] = calibrated(calibration, scores)
            decisions[repeat, held_out] = probabilities[repeat, held_out] >= threshold
    return OutOfFold(folds, probabilities, decisions)


def baseline(rows: TrainingSet, folds: IntArray) -> OutOfFold:
    """Score every row with the prevalence of the other folds: the best answer without a model."""
    probabilities = np.empty(folds.shape)
    for repeat, held_in in enumerate(folds):
        for fold in range(int(folds.max()) + 1):
            held_out = held_in == fold
            probabilities[repeat, held_out] = rows.outcomes[~held_out].mean()
    return OutOfFold(folds, probabilities, decisions=probabilities >= 1 - probabilities)


def _inner_scores(rows: TrainingSet, folds: IntArray, recipe: Recipe, count: int) -> FloatArray:
    """Return (folds, rows): the score of a row by a model that saw neither this fold nor its own.

    The model without folds i and j scores j for the calibration that is judged on i, and i for
    the one that is judged on j: half the fits of an inner cross-validation for each fold.
    """
    scores = np.full((count, len(rows)), np.nan)
    for first, second in combinations(range(count), 2):
        in_first, in_second = folds == first, folds == second
        known = ~(in_first | in_second)
        trees = train_trees(rows.features[known], rows.outcomes[known], recipe)
        scores[first, in_second] = raw_scores(trees, rows.features[in_second])
        scores[second, in_first] = raw_scores(trees, rows.features[in_first])
    return scores


BOOTSTRAP_SAMPLES = 500
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class FoldResult:
    """The measures of one held-out fold."""

    repeat: int
    fold: int
    rows: int
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`metrics` pools all held-out rows of a repeat and averages over repeats."""

    metrics: dict[str, Estimate]
    folds: tuple[FoldResult, ...]


def evaluate(rows: TrainingSet, held_out: OutOfFold, *, seed: int) -> Evaluation:
    """Judge the out-of-fold predictions of `rows`.

    The intervals are percentiles of a bootstrap over patients, drawn within each outcome as pROC
    does (Robin et al. 2011), with all records of a patient drawn together. They speak of the
    patients at hand; that other folds would have given other models shows in `folds`.
    """
    drawn = _bootstrap(rows, seed)
    names = (*OF_PROBABILITY, *OF_DECISION)
    return Evaluation(
        metrics={name: _estimate(_over_repeats(name, rows, held_out, drawn)) for name in names},
        folds=tuple(
            _fold_result(rows, held_out, repeat, fold)
            for repeat in range(len(held_out.folds))
            for fold in range(int(held_out.folds.max()) + 1)
        ),
    )


def by_fold(name: str, rows: TrainingSet, held_out: OutOfFold) -> FloatArray:
    """Return one measure of every held-out fold, (repeats * folds,), repeat by repeat."""
    count = int(held_out.folds.max()) + 1
    return np.array(
        [
            _measure(name, rows, held_out, repeat, (held_out.folds[repeat] == fold)[None, :])[0]
            for repeat in range(len(held_out.folds))
            for fold in range(count)
        ]
    )


def _fold_result(rows: TrainingSet, held_out: OutOfFold, repeat: int, fold: int) -> FoldResult:
    inside = held_out.folds[repeat] == fold
    names = (*OF_FOLD, *OF_DECISION)
    metrics = {
        name: float(_measure(name, rows, held_out, repeat, inside[None, :])[0]) for name in names
    }
    return FoldResult(repeat, fold, int(inside.sum()), metrics)


def _measure(
    name: str, rows: TrainingSet, held_out: OutOfFold, repeat: int, weights: FloatArray
) -> FloatArray:
    weights = np.asarray(weights, dtype=np.float64)
    if name in OF_DECISION:
        return OF_DECISION[name](held_out.decisions[repeat], rows.outcomes, weights)
    return OF_PROBABILITY[name](held_out.probabilities[repeat], rows.outcomes, weights)


def _over_repeats(
    name: str, rows: TrainingSet, held_out: OutOfFold, drawn: FloatArray
) -> FloatArray:
    repeats = range(len(held_out.folds))
    measured = [_measure(name, rows, held_out, repeat, drawn) for repeat in repeats]
    return np.asarray(np.mean(measured, axis=0))


def _estimate(values: FloatArray) -> Estimate:
    low, high = np.percentile(values[1:], _INTERVAL)
    return Estimate(float(values[0]), float(low), float(high))


def _bootstrap(rows: TrainingSet, seed: int) -> FloatArray:
    """Return weights (1 + samples, rows): every row once, then how often each sample drew it."""
    generator = np.random.default_rng(seed)
    _, first, patient = np.unique(rows.measurement_keys, return_index=True, return_inverse=True)
    drawn = np.ones((1 + BOOTSTRAP_SAMPLES, len(first)))
    for outcome in (0, 1):
        members = np.flatnonzero(rows.outcomes[first] == outcome)
        shares = np.full(len(members), 1 / len(members))
        drawn[1:, members] = generator.multinomial(len(members), shares, size=BOOTSTRAP_SAMPLES)
    return drawn[:, patient]
