"""From a training set to a candidate for release: model files, evaluation and plots, no I/O."""

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from diabetes_platform.contract.bundle import (
    BUNDLE_FILE,
    MODEL_FILE,
    Bundle,
    dump_bundle,
    sha256,
    versioned,
)
from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.contract.fingerprint import fingerprint
from diabetes_platform.modelling.cross_validation import OutOfFold, cross_validate
from diabetes_platform.modelling.evaluation import Evaluation, evaluate
from diabetes_platform.modelling.folds import assign_folds
from diabetes_platform.modelling.recipe import Recipe, recipe_from_json, recipe_to_json
from diabetes_platform.modelling.training import FittedModel, fit
from diabetes_platform.modelling.training_set import TrainingSet

_LIBRARIES = ("lightgbm", "numpy", "scikit-learn", "scipy")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained model with all that the gate, the store and the asset's metadata need.

    `files` holds the bytes of the model version by name, `bundle.json` among them.
    """

    bundle: Bundle
    files: dict[str, bytes]
    evaluation: Evaluation
    held_out: OutOfFold


def train_candidate(rows: TrainingSet, recipe: Recipe, *, delta_version: int) -> Candidate:
    """Train on `rows`, version `delta_version` of the training set's Delta table, and judge it.

    The same input gives the same bytes. Raises TrainingSetError.
    """
    held_out = cross_validate(rows, assign_folds(rows, recipe), recipe)
    evaluation = evaluate(rows, held_out, seed=recipe.seed)
    model = fit(rows, recipe)
    bundle = build_bundle(model, rows, recipe, evaluation, delta_version=delta_version)
    files = {MODEL_FILE: model.model_text, BUNDLE_FILE: dump_bundle(bundle)}
    return Candidate(bundle, files, evaluation, held_out)


def build_bundle(
    model: FittedModel,
    rows: TrainingSet,
    recipe: Recipe,
    evaluation: Evaluation,
    *,
    delta_version: int,
) -> Bundle:
    """Describe a fitted model; the bundle is named by its own content and carries no time."""
    training: dict[str, Any] = {
        "recipe": recipe_to_json(recipe),
        "seed": recipe.seed,
        "rows": len(rows),
        "prevalence": rows.prevalence,
        "content_hash": rows.content_hash,
        "delta_version": delta_version,
    }
    return versioned(
        Bundle(
            model_version="",
            features=FEATURE_NAMES,
            calibration=model.calibration,
            threshold=model.threshold,
            metrics={name: asdict(metric) for name, metric in evaluation.metrics.items()},
            training=training,
            contract_fingerprint=fingerprint(),
            libraries=library_versions(),
            files={MODEL_FILE: sha256(model.model_text)},
        )
    )


def library_versions() -> dict[str, str]:
    """Return the versions of what trains a model, which decide its bytes with the recipe."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def is_reproducible(bundle: Bundle, rows: TrainingSet) -> bool:
    """Train the bundle's recipe again on `rows` and tell whether the same model comes out."""
    again = fit(rows, recipe_from_json(bundle.training["recipe"]))
    return (
        sha256(again.model_text) == bundle.files[MODEL_FILE]
        and again.calibration == bundle.calibration
        and again.threshold == bundle.threshold
    )
