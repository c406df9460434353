"""The model and the requests of the benchmarks, from the Pima data."""

import csv
import json
from pathlib import Path

import lightgbm
import numpy as np

import diabetes_platform
from diabetes_platform.contract.bundle import (
    BUNDLE_FILE,
    MODEL_FILE,
    Bundle,
    Calibration,
    ChampionPointer,
    bundle_key,
    champion_key,
    dump_bundle,
    dump_champion,
    sha256,
    with_content_version,
)
from diabetes_platform.contract.fields import FEATURES, OUTCOME, fingerprint
from diabetes_platform.contract.validation import parse

PIMA_CSV = Path(diabetes_platform.__file__).parent / "datasets" / "pima.csv"

# As many trees and leaves as a released model has: they determine the cost of a prediction.
_PARAMETERS = {
    "objective": "binary",
    "learning_rate": 0.03,
    "num_leaves": 5,
    "min_child_samples": 25,
    "num_threads": 1,
    "verbosity": -1,
}
_ROUNDS = 250


def read_rows() -> list[dict[str, float | None]]:
    """Return the patients of the Pima data with their outcomes, and None for missing values."""
    with PIMA_CSV.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    fields = (*FEATURES, OUTCOME)
    names = {field.name: field.name if field.name in rows[0] else field.alias for field in fields}
    return [
        {field.name: parse(field, row[names[field.name]]).value for field in fields} for row in rows
    ]


def requests_of(rows: list[dict[str, float | None]]) -> list[bytes]:
    """Return each patient as the JSON body of `POST /predict`."""
    return [
        json.dumps({field.name: row[field.name] for field in FEATURES}).encode() for row in rows
    ]


def train(rows: list[dict[str, float | None]]) -> tuple[Bundle, bytes]:
    """Return a bundle and its model text, trained on `rows`."""
    names = [field.name for field in FEATURES]
    matrix = np.array([[row[name] for name in names] for row in rows], dtype=np.float64)
    outcomes = np.array([row[OUTCOME.name] for row in rows], dtype=np.float64)
    data = lightgbm.Dataset(matrix, outcomes, feature_name=names, params=_PARAMETERS)
    trees = lightgbm.train(_PARAMETERS, data, num_boost_round=_ROUNDS)
    content = trees.model_to_string().encode()
    bundle = Bundle(
        model_version="",
        features=tuple(names),
        calibration=Calibration(1.0, 0.0),
        threshold=0.5,
        metrics={},
        training={"rows": len(rows)},
        contract_fingerprint=fingerprint(),
        libraries={"lightgbm": lightgbm.__version__},
        files={MODEL_FILE: sha256(content)},
    )
    return with_content_version(bundle), content


def release(store: Path, bundle: Bundle, model_text: bytes) -> None:
    """Write the bundle and the pointer to it below `store`."""
    document = dump_bundle(bundle)
    pointer = dump_champion(ChampionPointer(bundle.model_version, sha256(document)))
    contents = {
        bundle_key(bundle.model_version, MODEL_FILE): model_text,
        bundle_key(bundle.model_version, BUNDLE_FILE): document,
        champion_key(): pointer,
    }
    for key, content in contents.items():
        path = store / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
