"""How good out-of-fold predictions are: pooled with 95 % intervals, and fold by fold."""

from dataclasses import dataclass

import numpy as np

from diabetes_platform.modelling.cross_validation import OutOfFold
from diabetes_platform.modelling.metrics import OF_DECISION, OF_FOLD, OF_PROBABILITY
from diabetes_platform.modelling.training_set import FloatArray, TrainingSet

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
