"""A candidate is a model version that serving can open, and training is deterministic."""

from dataclasses import replace

import lightgbm
import numpy as np
import pytest

from diabetes_platform.contract.bundle import (
    BUNDLE_FILE,
    MODEL_FILE,
    BundleError,
    ChampionPointer,
    load_bundle,
    open_bundle,
    sha256,
)
from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.modelling.recipe import Recipe, recipe_from_json
from diabetes_platform.modelling.release_gate import evaluate_against_baseline
from diabetes_platform.modelling.training import Candidate, is_reproducible, train_candidate
from diabetes_platform.modelling.training_set import TrainingSet, TrainingSetError
from diabetes_platform_tests.modelling.patients import SMALL, chosen, relabelled


def pointer(candidate: Candidate) -> ChampionPointer:
    return ChampionPointer(candidate.bundle.model_version, sha256(candidate.files[BUNDLE_FILE]))


def test_serving_can_open_the_files(candidate: Candidate) -> None:
    bundle = open_bundle(pointer(candidate), candidate.files)
    assert bundle == candidate.bundle
    trees = lightgbm.Booster(model_str=candidate.files[MODEL_FILE].decode())
    assert tuple(trees.feature_name()) == bundle.features == FEATURE_NAMES


def test_the_bundle_records_the_training_inputs(candidate: Candidate, pima: TrainingSet) -> None:
    training = load_bundle(candidate.files[BUNDLE_FILE]).training
    assert recipe_from_json(training["recipe"]) == Recipe()
    assert training["rows"] == 768
    assert training["delta_version"] == 7
    assert training["seed"] == Recipe().seed
    assert training["content_hash"] == pima.content_hash
    assert set(candidate.bundle.libraries) >= {"lightgbm", "numpy", "scikit-learn", "python"}
    for metric in candidate.bundle.metrics.values():
        assert metric["low"] <= metric["value"] <= metric["high"]


def test_the_same_input_gives_the_same_bytes_and_version(pima: TrainingSet) -> None:
    first, second = (train_candidate(pima, SMALL, delta_version=1) for _ in range(2))
    assert first.files == second.files
    assert first.bundle.model_version == second.bundle.model_version


@pytest.mark.parametrize("changed", ["seed", "table version", "rows"])
def test_changed_input_gives_another_version(pima: TrainingSet, changed: str) -> None:
    base = train_candidate(pima, SMALL, delta_version=1)
    changed_candidate = train_candidate(
        chosen(pima, np.arange(len(pima)) > 0) if changed == "rows" else pima,
        replace(SMALL, seed=1) if changed == "seed" else SMALL,
        delta_version=2 if changed == "table version" else 1,
    )
    assert changed_candidate.bundle.model_version != base.bundle.model_version


def test_is_reproducible_compares_a_second_training(
    candidate: Candidate, pima: TrainingSet
) -> None:
    assert is_reproducible(candidate.bundle, pima)
    assert not is_reproducible(replace(candidate.bundle, files={MODEL_FILE: "0" * 64}), pima)
    assert not is_reproducible(replace(candidate.bundle, threshold=0.9), pima)


def test_rejects_changed_trees(candidate: Candidate) -> None:
    text = candidate.files[MODEL_FILE].replace(b"leaf_value=", b"leaf_value=9", 1)
    with pytest.raises(BundleError, match=r"model\.txt: SHA-256"):
        open_bundle(
            pointer(candidate),
            {**candidate.files, MODEL_FILE: text},
        )


@pytest.mark.parametrize("outcome", [0, 1])
def test_rejects_rows_with_one_outcome(pima: TrainingSet, outcome: int) -> None:
    rows = relabelled(pima, np.full(len(pima), outcome))
    with pytest.raises(TrainingSetError, match="outcome: 0 patients with"):
        train_candidate(rows, SMALL, delta_version=1)


def test_a_handful_of_rows_gives_a_model_of_the_prevalence(pima: TrainingSet) -> None:
    """Too few for a single split: trained without complaint, and no gate lets it pass."""
    ill, healthy = np.flatnonzero(pima.outcomes)[:10], np.flatnonzero(pima.outcomes == 0)[:10]
    few = chosen(pima, np.isin(np.arange(len(pima)), [*ill, *healthy]))
    small = train_candidate(few, SMALL, delta_version=1)
    np.testing.assert_allclose(small.out_of_fold.probabilities, 0.5, atol=0.1)
    assert not evaluate_against_baseline(few, small.out_of_fold).passed
