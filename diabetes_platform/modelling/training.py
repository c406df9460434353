"""Training of the final model and of a release candidate: fit, evaluation, bundle. No I/O."""

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version

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
from diabetes_platform.modelling.classifier import fit_decision, raw_scores, train_trees
from diabetes_platform.modelling.cross_validation import (
    Estimate,
    OutOfFold,
    assign_folds,
    cross_validate,
    evaluate,
)
from diabetes_platform.modelling.recipe import Recipe, recipe_from_json, recipe_to_json
from diabetes_platform.modelling.training_set import TrainingSet

_LIBRARIES = ("lightgbm", "numpy", "scikit-learn", "scipy")


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A trained model: LightGBM's text, calibration and decision threshold."""

    model_text: bytes
    calibration: Calibration
    threshold: float


def fit(rows: TrainingSet, recipe: Recipe) -> FittedModel:
    """Fit the trees on all rows, calibration and threshold on their out-of-fold scores.

    The folds are those of the first repeat, as in the cross-validation. The same rows and recipe
    give the same bytes. Raises TrainingSetError.
    """
    folds = assign_folds(rows, recipe)[0]
    scores = np.empty(len(rows))
    for fold in range(recipe.folds):
        in_fold = folds == fold
        trees = train_trees(rows.features[~in_fold], rows.outcomes[~in_fold], recipe)
        scores[in_fold] = raw_scores(trees, rows.features[in_fold])
    calibration, threshold = fit_decision(scores, rows.outcomes)
    trees = train_trees(rows.features, rows.outcomes, recipe)
    return FittedModel(trees.model_to_string().encode(), calibration, threshold)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained model with its metrics and out-of-fold predictions.

    `files` maps the file names of the model version, including `bundle.json`, to their bytes.
    """

    bundle: Bundle
    files: dict[str, bytes]
    metrics: dict[str, Estimate]
    out_of_fold: OutOfFold


def train_candidate(rows: TrainingSet, recipe: Recipe, *, delta_version: int) -> Candidate:
    """Train and evaluate on `rows`, version `delta_version` of the training set's Delta table.

    The same input gives the same bytes; the version is a hash of the bundle's content. Raises
    TrainingSetError.
    """
    out_of_fold = cross_validate(rows, assign_folds(rows, recipe), recipe)
    metrics = evaluate(rows, out_of_fold, seed=recipe.seed)
    model = fit(rows, recipe)
    bundle = with_content_version(
        Bundle(
            model_version="",
            features=FEATURE_NAMES,
            calibration=model.calibration,
            threshold=model.threshold,
            metrics={name: asdict(metric) for name, metric in metrics.items()},
            training={
                "recipe": recipe_to_json(recipe),
                "seed": recipe.seed,
                "rows": len(rows),
                "prevalence": rows.prevalence,
                "content_hash": rows.content_hash,
                "delta_version": delta_version,
            },
            contract_fingerprint=fingerprint(),
            libraries=library_versions(),
            files={MODEL_FILE: sha256(model.model_text)},
        )
    )
    files = {MODEL_FILE: model.model_text, BUNDLE_FILE: dump_bundle(bundle)}
    return Candidate(bundle, files, metrics, out_of_fold)


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that determine the model's bytes."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def is_reproducible(bundle: Bundle, rows: TrainingSet) -> bool:
    """Return whether training the bundle's recipe on `rows` gives the same model."""
    retrained = fit(rows, recipe_from_json(bundle.training["recipe"]))
    return (
        sha256(retrained.model_text) == bundle.files[MODEL_FILE]
        and retrained.calibration == bundle.calibration
        and retrained.threshold == bundle.threshold
    )
