"""What a released model answers offline: the bundle's order of features, calibrated."""

from dataclasses import replace

import numpy as np
import pytest

from diabetes_platform.contract.bundle import ChampionPointer, sha256
from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.modelling.classifier import answers
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


def test_the_answers_are_probabilities_that_meet_the_prevalence(
    rows: TrainingSet, candidate: Candidate
) -> None:
    found = answers(version_of(candidate), rows.features)
    assert found.shape == (len(rows),)
    assert ((found > 0) & (found < 1)).all()
    assert found.mean() == pytest.approx(rows.prevalence, abs=0.05)


def test_of_no_rows_there_are_no_answers(candidate: Candidate) -> None:
    assert answers(version_of(candidate), np.empty((0, len(FEATURE_NAMES)))).tolist() == []


def test_a_bundle_in_another_order_than_its_model_is_refused(
    rows: TrainingSet, candidate: Candidate
) -> None:
    swapped = (FEATURE_NAMES[1], FEATURE_NAMES[0], *FEATURE_NAMES[2:])
    model = version_of(candidate)
    model = replace(model, bundle=replace(model.bundle, features=swapped))
    with pytest.raises(ValueError, match=r"columns of model\.txt: given .* allowed those of the b"):
        answers(model, rows.features)
