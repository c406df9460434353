"""A recipe survives JSON, refuses nonsense and says all that repeatable training needs."""

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
def test_json_gives_the_recipe_back(recipe: Recipe) -> None:
    assert recipe_from_json(json.loads(json.dumps(recipe_to_json(recipe)))) == recipe


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"folds": 2}, "folds: given 2, allowed at least 3"),
        ({"repeats": 0}, "repeats: given 0, allowed at least 1"),
        ({"seed": -1}, "seed: given -1"),
        ({"num_iterations": 0}, "num_iterations: given 0"),
        ({"increasing": ("weight",)}, r"increasing: given \['weight'\], allowed pregnancies, "),
        ({"calibration": "isotonic"}, "calibration: given 'isotonic', allowed platt"),
        ({"threshold": "f1"}, "threshold: given 'f1', allowed youden"),
    ],
)
def test_nonsense_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        replace(Recipe(), **changed)


def test_a_recipe_of_another_time_is_refused_by_its_names() -> None:
    with pytest.raises(RecipeError, match="given depth, allowed bagging_fraction, "):
        recipe_from_json({"depth": 3})


def test_monotone_constraints_follow_the_contract_order() -> None:
    constraints = Recipe().lightgbm_parameters()["monotone_constraints"]
    increasing = [name for name, up in zip(FEATURE_NAMES, constraints, strict=True) if up]
    assert increasing == ["glucose", "bmi", "diabetes_pedigree_function", "age"]


def test_all_seeds_of_lightgbm_are_said() -> None:
    parameters = Recipe(seed=11).lightgbm_parameters()
    assert {name: value for name, value in parameters.items() if "seed" in name} == {
        "seed": 11,
        "bagging_seed": 11,
        "feature_fraction_seed": 11,
        "data_random_seed": 11,
    }
    assert parameters["deterministic"]
