"""A recipe survives JSON, rejects invalid values and makes training deterministic."""

import json
from dataclasses import replace
from typing import Any

import pytest

from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.modelling.recipe import (
    Recipe,
    RecipeError,
    recipe_from_json,
    recipe_to_json,
)


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(increasing=(), seed=1, folds=10)])
def test_json_round_trip(recipe: Recipe) -> None:
    assert recipe_from_json(json.loads(json.dumps(recipe_to_json(recipe)))) == recipe


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"folds": 2}, "folds is 2; allowed: at least 3"),
        ({"repeats": 0}, "repeats is 0; allowed: at least 1"),
        ({"seed": -1}, "seed is -1"),
        ({"num_iterations": 0}, "num_iterations is 0"),
        ({"increasing": ("weight",)}, r"increasing is \['weight'\]; allowed: pregnancies, "),
        ({"calibration": "isotonic"}, "calibration is 'isotonic'; allowed: platt"),
        ({"threshold": "f1"}, "threshold is 'f1'; allowed: youden"),
    ],
)
def test_rejects_an_invalid_value(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        replace(Recipe(), **changed)


def test_rejects_a_recipe_with_other_keys() -> None:
    with pytest.raises(RecipeError, match="has the keys depth; allowed: bagging_fraction, "):
        recipe_from_json({"depth": 3})


def test_monotone_constraints_follow_the_contract_order() -> None:
    constraints = Recipe().lightgbm_parameters()["monotone_constraints"]
    increasing = [name for name, up in zip(FEATURE_NAMES, constraints, strict=True) if up]
    assert increasing == ["glucose", "bmi", "diabetes_pedigree_function", "age"]


def test_sets_all_seeds_of_lightgbm() -> None:
    parameters = Recipe(seed=11).lightgbm_parameters()
    assert {name: value for name, value in parameters.items() if "seed" in name} == {
        "seed": 11,
        "bagging_seed": 11,
        "feature_fraction_seed": 11,
        "data_random_seed": 11,
    }
    assert parameters["deterministic"]
