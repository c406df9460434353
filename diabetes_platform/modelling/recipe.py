"""The training recipe: hyperparameters, cross-validation and seed, as one value stored in JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from diabetes_platform.contract.fields import FEATURE_NAMES

_MIN_FOLDS = 3  # one to evaluate on, one to calibrate on, one to train on


class RecipeError(ValueError):
    """An invalid recipe; the message names field, value and allowed values."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A small monotone LightGBM with Platt scaling and Youden's threshold.

    The names are LightGBM's. `increasing` are the features with a monotone constraint: the
    direction of their effect is established, and on the Pima data the constraint costs no accuracy
    in a model of this size. `folds` and `repeats` belong to the cross-validation.
    """

    num_iterations: int = 250
    learning_rate: float = 0.03
    num_leaves: int = 5
    min_data_in_leaf: int = 25
    bagging_fraction: float = 0.7
    bagging_freq: int = 1
    feature_fraction: float = 0.6
    lambda_l2: float = 10.0
    increasing: tuple[str, ...] = ("glucose", "bmi", "diabetes_pedigree_function", "age")
    calibration: Literal["platt"] = "platt"
    threshold: Literal["youden"] = "youden"
    folds: int = 5
    repeats: int = 3
    seed: int = 20_260_101

    def __post_init__(self) -> None:
        _require("folds", self.folds, self.folds >= _MIN_FOLDS, f"at least {_MIN_FOLDS}")
        _require("repeats", self.repeats, self.repeats >= 1, "at least 1")
        _require("seed", self.seed, 0 <= self.seed < 2**31 - 1, "0 to 2147483646")
        _require("num_iterations", self.num_iterations, self.num_iterations >= 1, "at least 1")
        unknown = [name for name in self.increasing if name not in FEATURE_NAMES]
        _require("increasing", unknown, not unknown, ", ".join(FEATURE_NAMES))
        _require("calibration", self.calibration, self.calibration == "platt", "platt")
        _require("threshold", self.threshold, self.threshold == "youden", "youden")

    def lightgbm_parameters(self) -> dict[str, Any]:
        """Return the parameters of `lightgbm.train`, including those that make it deterministic."""
        seeds = ("seed", "bagging_seed", "feature_fraction_seed", "data_random_seed")
        return {
            "objective": "binary",
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": self.min_data_in_leaf,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": self.bagging_freq,
            "feature_fraction": self.feature_fraction,
            "lambda_l2": self.lambda_l2,
            "monotone_constraints": [int(name in self.increasing) for name in FEATURE_NAMES],
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            **dict.fromkeys(seeds, self.seed),
            "verbosity": -1,
        }


def recipe_to_json(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as a JSON object that `recipe_from_json` reads."""
    return {**asdict(recipe), "increasing": list(recipe.increasing)}


def recipe_from_json(document: Mapping[str, Any]) -> Recipe:
    """Parse a recipe, for example `bundle.training["recipe"]`; raises RecipeError."""
    names = {field.name for field in fields(Recipe)}
    if set(document) != names:
        raise RecipeError(
            f"recipe has the keys {', '.join(sorted(document)) or 'none'}; "
            f"allowed: {', '.join(sorted(names))}"
        )
    return Recipe(**{**document, "increasing": tuple(document["increasing"])})


def _require(name: str, value: object, valid: bool, allowed: str) -> None:
    if not valid:
        raise RecipeError(f"{name} is {value!r}; allowed: {allowed}")
