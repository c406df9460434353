"""Which rows are held out together: repeated, stratified, seeded, one patient in one fold."""

from collections.abc import Iterator

import numpy as np

from diabetes_platform.contract.fields import OUTCOME
from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.training_set import (
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
