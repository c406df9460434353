"""Model bundles for the tests: real LightGBM models, trained in milliseconds on random rows."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import lightgbm
import numpy as np

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
from diabetes_platform.contract.fields import FEATURE_NAMES, FEATURES, fingerprint


@cache
def model_text(seed: int = 1) -> str:
    """Return a small model that depends on glucose, bmi and age, and handles missing values."""
    random = np.random.default_rng(seed)
    low = np.array([field.minimum for field in FEATURES])
    high = np.array([field.maximum for field in FEATURES])
    rows = random.uniform(low, high, size=(400, len(FEATURES)))
    names = list(FEATURE_NAMES)
    risk = sum(
        (rows[:, names.index(name)] - low[names.index(name)]) / (high - low)[names.index(name)]
        for name in ("glucose", "bmi", "age")
    )
    outcomes = (risk + random.normal(0, 0.3, len(rows)) > 1.5).astype(float)
    rows[random.uniform(size=rows.shape) < 0.1] = np.nan
    parameters = {
        "objective": "binary",
        "num_leaves": 5,
        "num_threads": 1,
        "seed": seed,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(rows, outcomes, feature_name=names, params=parameters)
    return lightgbm.train(parameters, data, num_boost_round=40).model_to_string()


def make_bundle(
    text: str | None = None,
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    threshold: float = 0.5,
    contract_fingerprint: str | None = None,
    features: tuple[str, ...] = FEATURE_NAMES,
) -> tuple[Bundle, dict[str, bytes]]:
    """Return a bundle and its files; `intercept` shifts every probability."""
    content = (model_text() if text is None else text).encode()
    bundle = with_content_version(
        Bundle(
            model_version="",
            features=features,
            calibration=Calibration(slope, intercept),
            threshold=threshold,
            metrics={"roc_auc": {"value": 0.8, "low": 0.75, "high": 0.85}},
            training={"seed": 1, "rows": 400},
            contract_fingerprint=contract_fingerprint or fingerprint(),
            libraries={"lightgbm": lightgbm.__version__},
            files={MODEL_FILE: sha256(content)},
        )
    )
    return bundle, {MODEL_FILE: content, BUNDLE_FILE: dump_bundle(bundle)}


def champion_of(bundle: Bundle) -> ChampionPointer:
    """Return the pointer to `bundle`."""
    return ChampionPointer(bundle.model_version, sha256(dump_bundle(bundle)))


def put_bundle(store: Path, bundle: Bundle, files: dict[str, bytes]) -> None:
    """Write the files of one version below `store`."""
    for name, content in files.items():
        write(store / bundle_key(bundle.model_version, name), content)


def point_at(store: Path, bundle: Bundle) -> None:
    """Make `bundle` the champion of `store`."""
    write(store / champion_key(), dump_champion(champion_of(bundle)))


def release(store: Path, bundle: Bundle, files: dict[str, bytes]) -> None:
    """Write the files, then the pointer, as a release does."""
    put_bundle(store, bundle, files)
    point_at(store, bundle)


def write(path: Path, content: bytes) -> None:
    """Replace a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_bytes(content)
    temporary.replace(path)


def renamed(bundle: Bundle, version: str) -> Bundle:
    """Return `bundle` with another version, as a forger would name it."""
    return replace(bundle, model_version=version)
