"""Folds are stratified, repeatable, and keep a patient's records together."""

from dataclasses import replace

import numpy as np
import pytest

from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.modelling.cross_validation import assign_folds, folds_of, told_apart
from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.training_set import TrainingSet, TrainingSetError, training_set
from diabetes_platform_tests.modelling.patients import by_intake, chosen, relabelled, remeasured

RECIPE = Recipe(folds=5, repeats=2)


def test_every_fold_has_the_prevalence_of_the_whole(pima: TrainingSet) -> None:
    for folds in assign_folds(pima, RECIPE):
        shares = [pima.outcomes[folds == fold].mean() for fold in range(5)]
        np.testing.assert_allclose(shares, pima.prevalence, atol=0.005)


def test_repeats_differ_and_the_seed_repeats_them(pima: TrainingSet) -> None:
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
def test_a_class_with_fewer_patients_than_folds_is_refused(
    pima: TrainingSet, ill: int, message: str
) -> None:
    rows = relabelled(pima, np.arange(len(pima)) < ill)
    with pytest.raises(TrainingSetError, match=f"outcome: given {message}, allowed at least 5"):
        assign_folds(rows, RECIPE)


def test_a_duplicate_is_not_another_patient_for_that_count(pima: TrainingSet) -> None:
    ill = np.flatnonzero(pima.outcomes)[[0, 1, 2, 3, 3]]
    members = np.concatenate([ill, np.flatnonzero(pima.outcomes == 0)])
    ids = [f"a-{line}" for line in range(len(members))]
    rows = training_set(pima.features[members], pima.outcomes[members], ids)
    with pytest.raises(TrainingSetError, match="given 4 patients with 1"):
        assign_folds(rows, RECIPE)


def test_an_older_set_gets_the_folds_of_the_patients_it_shares(pima: TrainingSet) -> None:
    folds = assign_folds(pima, RECIPE)
    older = chosen(pima, np.arange(len(pima)) % 2 == 0)
    position = {key: row for row, key in enumerate(pima.measurement_keys)}
    shared = [position[key] for key in older.measurement_keys]
    np.testing.assert_array_equal(folds_of(older, pima, folds, 5), folds[:, shared])


def test_patients_of_the_older_set_alone_are_spread_over_all_folds(pima: TrainingSet) -> None:
    newer = chosen(pima, np.arange(len(pima)) < 400)
    older = chosen(pima, np.arange(len(pima)) >= 400)
    spread = folds_of(older, newer, assign_folds(newer, RECIPE), 5)
    counts = np.bincount(spread[0], minlength=5)
    assert counts.min() > len(older) / 10


def with_labels(pima: TrainingSet) -> TrainingSet:
    """The file's patients and 200 of the stream: 100 of them the file's with another outcome."""
    labelled = pima.features[:200].copy()
    labelled[100:, FEATURE_NAMES.index("age")] += 0.25
    outcomes = np.concatenate([pima.outcomes, 1 - pima.outcomes[:100], pima.outcomes[100:200]])
    ids = [*pima.record_ids, *(f"0123456789ab-intake-{intake}" for intake in range(200))]
    return training_set(np.concatenate([pima.features, labelled]), outcomes, ids)


def test_no_patient_is_in_two_folds_whether_the_file_or_the_stream_brought_the_record(
    pima: TrainingSet,
) -> None:
    rows = with_labels(pima)
    assert sum(intake is not None for intake in rows.intakes) == 200
    for folds in assign_folds(rows, RECIPE):
        by_patient: dict[str, set[int]] = {}
        for key, fold in zip(rows.measurement_keys, folds, strict=True):
            by_patient.setdefault(key, set()).add(int(fold))
        assert len(by_patient) == len(rows) - 100
        assert {len(found) for found in by_patient.values()} == {1}


def test_a_patient_whose_measurements_were_corrected_is_still_that_patient(
    pima: TrainingSet,
) -> None:
    newer = by_intake(pima, 5, 7)
    older = by_intake(remeasured(pima, "glucose", pima.features[:, 1] + 0.25), 5, 7)
    older = training_set(older.features, older.outcomes, older.record_ids)
    folds = assign_folds(newer, RECIPE)
    (row,) = (row for row, intake in enumerate(older.intakes) if intake == 7)
    np.testing.assert_array_equal(folds_of(older, newer, folds, 5)[:, row], folds[:, 5])
    assert told_apart(older, newer) is older


def test_a_row_that_is_two_patients_of_the_newer_set_is_not_trained_on(pima: TrainingSet) -> None:
    """Intake 7 was measured as row 3 is; by now it is measured as row 5 is."""
    newer = by_intake(pima, 5, 7)
    older = by_intake(pima, 3, 7)
    kept = told_apart(older, newer)
    assert len(kept) == len(older) - 1
    assert 7 not in kept.intakes
    assert told_apart(older, by_intake(pima, 3, 7)) is older
