"""Folds are stratified and deterministic, and keep a patient's records together."""

from dataclasses import replace

import numpy as np
import pytest

from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.modelling.cross_validation import (
    assign_folds,
    match_folds,
    without_ambiguous_rows,
)
from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.training_set import TrainingSet, TrainingSetError, training_set
from diabetes_platform_tests.modelling.patients import by_intake, chosen, relabelled, remeasured

RECIPE = Recipe(folds=5, repeats=2)


def test_folds_are_stratified_by_outcome(pima: TrainingSet) -> None:
    for folds in assign_folds(pima, RECIPE):
        shares = [pima.outcomes[folds == fold].mean() for fold in range(5)]
        np.testing.assert_allclose(shares, pima.prevalence, atol=0.005)


def test_repeats_differ_and_the_same_seed_gives_the_same_folds(pima: TrainingSet) -> None:
    first = assign_folds(pima, RECIPE)
    assert (first[0] != first[1]).mean() > 0.5
    np.testing.assert_array_equal(first, assign_folds(pima, RECIPE))
    assert (first != assign_folds(pima, replace(RECIPE, seed=1))).mean() > 0.5


def test_records_with_identical_measurements_share_a_fold(pima: TrainingSet) -> None:
    features = np.concatenate([pima.features, pima.features[:300]])
    outcomes = np.concatenate([pima.outcomes, 1 - pima.outcomes[:300]])
    rows = training_set(features, outcomes, [f"a-{line}" for line in range(len(outcomes))])
    for folds in assign_folds(rows, RECIPE):
        fold_of: dict[str, int] = {}
        for key, fold in zip(rows.measurement_keys, folds, strict=True):
            assert fold_of.setdefault(key, int(fold)) == fold


@pytest.mark.parametrize(("ill", "message"), [(0, "0 patients with 1"), (4, "4 patients with 1")])
def test_rejects_a_class_with_fewer_patients_than_folds(
    pima: TrainingSet, ill: int, message: str
) -> None:
    rows = relabelled(pima, np.arange(len(pima)) < ill)
    with pytest.raises(TrainingSetError, match=f"outcome: {message}; allowed: at least 5"):
        assign_folds(rows, RECIPE)


def test_duplicate_records_count_as_one_patient(pima: TrainingSet) -> None:
    ill = np.flatnonzero(pima.outcomes)[[0, 1, 2, 3, 3]]
    members = np.concatenate([ill, np.flatnonzero(pima.outcomes == 0)])
    ids = [f"a-{line}" for line in range(len(members))]
    rows = training_set(pima.features[members], pima.outcomes[members], ids)
    with pytest.raises(TrainingSetError, match="4 patients with 1"):
        assign_folds(rows, RECIPE)


def test_shared_patients_get_the_same_folds(pima: TrainingSet) -> None:
    folds = assign_folds(pima, RECIPE)
    older = chosen(pima, np.arange(len(pima)) % 2 == 0)
    position = {key: row for row, key in enumerate(pima.measurement_keys)}
    shared = [position[key] for key in older.measurement_keys]
    np.testing.assert_array_equal(match_folds(older, pima, folds, 5), folds[:, shared])


def test_other_patients_are_distributed_over_all_folds(pima: TrainingSet) -> None:
    newer = chosen(pima, np.arange(len(pima)) < 400)
    older = chosen(pima, np.arange(len(pima)) >= 400)
    spread = match_folds(older, newer, assign_folds(newer, RECIPE), 5)
    counts = np.bincount(spread[0], minlength=5)
    assert counts.min() > len(older) / 10


def with_labels(pima: TrainingSet) -> TrainingSet:
    """The file's patients and 200 of the stream: 100 of them the file's with another outcome."""
    labelled = pima.features[:200].copy()
    labelled[100:, FEATURE_NAMES.index("age")] += 0.25
    outcomes = np.concatenate([pima.outcomes, 1 - pima.outcomes[:100], pima.outcomes[100:200]])
    ids = [*pima.record_ids, *(f"0123456789ab-intake-{intake}" for intake in range(200))]
    return training_set(np.concatenate([pima.features, labelled]), outcomes, ids)


def test_records_of_one_patient_from_file_and_stream_share_a_fold(
    pima: TrainingSet,
) -> None:
    rows = with_labels(pima)
    assert sum(intake is not None for intake in rows.intakes) == 200
    for folds in assign_folds(rows, RECIPE):
        by_patient: dict[str, set[int]] = {}
        for key, fold in zip(rows.measurement_keys, folds, strict=True):
            by_patient.setdefault(key, set()).add(int(fold))
        assert len(by_patient) == len(rows) - 100
        assert {len(patient_folds) for patient_folds in by_patient.values()} == {1}


def test_a_patient_with_corrected_measurements_keeps_the_fold(
    pima: TrainingSet,
) -> None:
    newer = by_intake(pima, 5, 7)
    older = by_intake(remeasured(pima, "glucose", pima.features[:, 1] + 0.25), 5, 7)
    older = training_set(older.features, older.outcomes, older.record_ids)
    folds = assign_folds(newer, RECIPE)
    (row,) = (row for row, intake in enumerate(older.intakes) if intake == 7)
    np.testing.assert_array_equal(match_folds(older, newer, folds, 5)[:, row], folds[:, 5])
    assert without_ambiguous_rows(older, newer) is older


def test_drops_a_row_that_matches_two_patients(pima: TrainingSet) -> None:
    """Intake 7 was measured as row 3 is; by now it is measured as row 5 is."""
    newer = by_intake(pima, 5, 7)
    older = by_intake(pima, 3, 7)
    unambiguous = without_ambiguous_rows(older, newer)
    assert len(unambiguous) == len(older) - 1
    assert 7 not in unambiguous.intakes
    assert without_ambiguous_rows(older, by_intake(pima, 3, 7)) is older
