"""How a model is trained: every number that shapes it, as one frozen value that JSON can hold."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from diabetes_platform.contract.fields import FEATURE_NAMES

Calibrator = Literal["platt"]
ThresholdCriterion = Literal["youden"]

_FEWEST_FOLDS = 3  # one to be judged on, one to calibrate on, one to train on


class RecipeError(ValueError):
    """A recipe that cannot be followed; the message names field, given and allowed."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A small monotone LightGBM, calibrated by Platt scaling, decided at Youden's J.

    The names are LightGBM's own. `increasing` are the features in which the risk may not fall:
    the direction of these four is established, and on the Pima data holding to it costs a model
    of this size no accuracy. `folds` and `repeats` are those of the cross-validation.
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
    calibration: Calibrator = "platt"
    threshold: ThresholdCriterion = "youden"
    folds: int = 5
    repeats: int = 3
    seed: int = 20_260_101

    def __post_init__(self) -> None:
        _require("folds", self.folds, self.folds >= _FEWEST_FOLDS, f"at least {_FEWEST_FOLDS}")
        _require("repeats", self.repeats, self.repeats >= 1, "at least 1")
        _require("seed", self.seed, 0 <= self.seed < 2**31 - 1, "0 to 2147483646")
        _require("num_iterations", self.num_iterations, self.num_iterations >= 1, "at least 1")
        unknown = [name for name in self.increasing if name not in FEATURE_NAMES]
        _require("increasing", unknown, not unknown, ", ".join(FEATURE_NAMES))
        known = get_args(Calibrator)
        _require("calibration", self.calibration, self.calibration in known, ", ".join(known))
        known = get_args(ThresholdCriterion)
        _require("threshold", self.threshold, self.threshold in known, ", ".join(known))

    def lightgbm_parameters(self) -> dict[str, Any]:
        """The parameters of `lightgbm.train`, with all that makes its bytes repeatable."""
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
            "seed": self.seed,
            "bagging_seed": self.seed,
            "feature_fraction_seed": self.seed,
            "data_random_seed": self.seed,
            "verbosity": -1,
        }


def recipe_to_json(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as JSON holds it, so that reading it back compares equal."""
    return {**asdict(recipe), "increasing": list(recipe.increasing)}


def recipe_from_json(document: Mapping[str, Any]) -> Recipe:
    """Read a recipe, as from `bundle.training["recipe"]`; raises RecipeError."""
    known = {field.name for field in fields(Recipe)}
    if set(document) != known:
        raise RecipeError(
            f"recipe: given {', '.join(sorted(document)) or 'nothing'}, "
            f"allowed {', '.join(sorted(known))}"
        )
    return Recipe(**{**document, "increasing": tuple(document["increasing"])})


def _require(name: str, given: object, holds: bool, allowed: str) -> None:
    if not holds:
        raise RecipeError(f"{name}: given {given!r}, allowed {allowed}")
