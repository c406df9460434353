"""Training of the final model and of a release candidate: files, bundle and evaluation, no I/O."""

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from diabetes_platform.contract.bundle import (
    BUNDLE_FILE,
    MODEL_FILE,
    Bundle,
    Calibration,
    dump_bundle,
    sha256,
    with_content_version,
)
from diabetes_platform.contract.fields import FEATURE_NAMES, fingerprint
from diabetes_platform.modelling.classifier import (
    calibrated,
    platt,
    raw_scores,
    train_trees,
    youden,
)
from diabetes_platform.modelling.cross_validation import (
    Evaluation,
    OutOfFold,
    assign_folds,
    cross_validate,
    evaluate,
)
from diabetes_platform.modelling.recipe import Recipe, recipe_from_json, recipe_to_json
from diabetes_platform.modelling.training_set import (
    TrainingSet,
)


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A model ready to be bundled: LightGBM's text, and how to read its raw scores."""

    model_text: bytes
    calibration: Calibration
    threshold: float


def fit(rows: TrainingSet, recipe: Recipe) -> FittedModel:
    """Fit the trees on all rows, calibration and threshold on their out-of-fold scores.

    The folds are those of the first repeat, so that this is the very procedure which the
    cross-validation judges. The same rows and recipe give the same bytes. Raises TrainingSetError.
    """
    folds = assign_folds(rows, recipe)[0]
    scores = np.empty(len(rows))
    for fold in range(recipe.folds):
        held_out = folds == fold
        trees = train_trees(rows.features[~held_out], rows.outcomes[~held_out], recipe)
        scores[held_out] = raw_scores(trees, rows.features[held_out])
    calibration = platt(scores, rows.outcomes)
    threshold = youden(calibrated(calibration, scores), rows.outcomes)
    trees = train_trees(rows.features, rows.outcomes, recipe)
    return FittedModel(trees.model_to_string().encode(), calibration, threshold)


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
    return with_content_version(
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
