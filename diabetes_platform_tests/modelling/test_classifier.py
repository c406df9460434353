"""`predict_proba` of a released model: column order and calibration."""

from dataclasses import replace

import lightgbm
import numpy as np
import pytest

from diabetes_platform.contract.bundle import MODEL_FILE, ChampionPointer, sha256
from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.modelling.classifier import calibrate, predict_proba
from diabetes_platform.modelling.store import ModelVersion
from diabetes_platform.modelling.training import Candidate, train_candidate
from diabetes_platform.modelling.training_set import TrainingSet, training_set_from_arrow
from diabetes_platform_tests.modelling.patients import SMALL, pima_table


@pytest.fixture(scope="module")
def rows() -> TrainingSet:
    return training_set_from_arrow(pima_table())


@pytest.fixture(scope="module")
def candidate(rows: TrainingSet) -> Candidate:
    return train_candidate(rows, SMALL, delta_version=0)


def version_of(candidate: Candidate) -> ModelVersion:
    pointer = ChampionPointer(
        candidate.bundle.model_version, sha256(candidate.files["bundle.json"])
    )
    return ModelVersion(candidate.bundle, candidate.files, pointer)


def test_probabilities_match_the_prevalence(rows: TrainingSet, candidate: Candidate) -> None:
    probabilities = predict_proba(version_of(candidate), rows.features)
    assert probabilities.shape == (len(rows),)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert probabilities.mean() == pytest.approx(rows.prevalence, abs=0.05)


def test_no_rows_give_no_probabilities(candidate: Candidate) -> None:
    assert predict_proba(version_of(candidate), np.empty((0, len(FEATURE_NAMES)))).tolist() == []


def test_predicts_with_a_model_of_fewer_features(rows: TrainingSet, candidate: Candidate) -> None:
    """A released model may be older than the contract's newest optional feature."""
    names = FEATURE_NAMES[1:]
    data = lightgbm.Dataset(rows.features[:, 1:], rows.outcomes, feature_name=list(names))
    trees = lightgbm.train({"objective": "binary", "verbosity": -1}, data, 3)
    model = version_of(candidate)
    older = replace(
        model,
        bundle=replace(model.bundle, features=names),
        files={**model.files, MODEL_FILE: trees.model_to_string().encode()},
    )
    expected = trees.predict(rows.features[:, 1:], raw_score=True)
    np.testing.assert_allclose(
        predict_proba(older, rows.features), calibrate(model.bundle.calibration, expected)
    )


def test_rejects_a_model_of_a_removed_feature(rows: TrainingSet, candidate: Candidate) -> None:
    model = version_of(candidate)
    names = ("weight", *FEATURE_NAMES[1:])
    text = model.files[MODEL_FILE].replace(FEATURE_NAMES[0].encode(), b"weight")
    older = replace(
        model,
        bundle=replace(model.bundle, features=names),
        files={**model.files, MODEL_FILE: text},
    )
    with pytest.raises(ValueError, match="weight, which is not a feature of the contract"):
        predict_proba(older, rows.features)


def test_rejects_a_bundle_with_another_column_order_than_its_model(
    rows: TrainingSet, candidate: Candidate
) -> None:
    swapped = (FEATURE_NAMES[1], FEATURE_NAMES[0], *FEATURE_NAMES[2:])
    model = version_of(candidate)
    model = replace(model, bundle=replace(model.bundle, features=swapped))
    with pytest.raises(ValueError, match=r"model\.txt has the columns .*; the bundle has"):
        predict_proba(model, rows.features)
