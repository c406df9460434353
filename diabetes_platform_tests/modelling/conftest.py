"""The real patients, and one candidate trained on them that many tests look at."""

import pytest

from diabetes_platform.modelling.recipe import Recipe
from diabetes_platform.modelling.training import Candidate, train_candidate
from diabetes_platform.modelling.training_set import TrainingSet, training_set_from_arrow
from diabetes_platform_tests.modelling.patients import pima_table


@pytest.fixture(scope="session")
def pima() -> TrainingSet:
    return training_set_from_arrow(pima_table())


@pytest.fixture(scope="session")
def candidate(pima: TrainingSet) -> Candidate:
    return train_candidate(pima, Recipe(), delta_version=7)
