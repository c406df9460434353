"""The files of a model version, which training writes and the API reads.

`models/diabetes/<version>/model.txt` has LightGBM's text format, `bundle.json` beside it describes
how to use it, and `models/diabetes/champion.json` points at the released version.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from diabetes_platform.contract.fields import fingerprint, model_fingerprint

MODELS_PREFIX = "diabetes"
MODEL_FILE = "model.txt"
BUNDLE_FILE = "bundle.json"
CHAMPION_FILE = "champion.json"
WITHDRAWN_PREFIX = f"{MODELS_PREFIX}/withdrawn"
"""One file for each version that was rolled back, with the reason not to release it again."""
FORMAT = 1


class BundleError(ValueError):
    """A bundle that must not be used: it is damaged, changed, or belongs to another contract."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt scaling: probability = 1 / (1 + exp(-(slope * score + intercept)))."""

    slope: float
    intercept: float

    def probability(self, score: float) -> float:
        """Map a raw score (log-odds before calibration) to a probability in [0, 1]."""
        logit = self.slope * score + self.intercept
        if logit >= 0:
            return 1.0 / (1.0 + math.exp(-logit))
        odds = math.exp(logit)
        return odds / (1.0 + odds)


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything that is needed to use and evaluate a model, as stored in `bundle.json`.

    `features` is the column order of `model.txt`. A probability at or above `threshold` is
    class 1. `metrics` maps a name to its estimate and 95 % interval (`value`, `low`, `high`).
    `training` has the recipe, seeds, row count and the Delta version of the training set,
    `libraries` the versions of the libraries that trained it, `files` the SHA-256 by file name.
    """

    model_version: str
    features: tuple[str, ...]
    calibration: Calibration
    threshold: float
    metrics: dict[str, dict[str, float]]
    training: dict[str, Any]
    contract_fingerprint: str
    libraries: dict[str, str]
    files: dict[str, str]
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class ChampionPointer:
    """The pointer to the released model; `bundle_sha256` makes the bundle itself tamper-evident."""

    model_version: str
    bundle_sha256: str


def sha256(content: bytes) -> str:
    """Return the hex SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def with_content_version(bundle: Bundle) -> Bundle:
    """Return `bundle` with the hash of its content as version: equal training, equal version."""
    unversioned = replace(bundle, model_version="")
    return replace(bundle, model_version=sha256(dump_bundle(unversioned))[:12])


def dump_bundle(bundle: Bundle) -> bytes:
    """Write `bundle.json`: sorted keys, so that equal bundles are equal bytes."""
    return _canonical_json(asdict(bundle))


def load_bundle(content: bytes) -> Bundle:
    """Read `bundle.json`. Raises BundleError that names the fault."""
    document = _json_object(content, BUNDLE_FILE)
    if document.get("format") != FORMAT:
        raise BundleError(f"{BUNDLE_FILE}: format is {document.get('format')!r}; allowed: {FORMAT}")
    try:
        fields = {**document, "features": tuple(document["features"])}
        fields["calibration"] = Calibration(**document["calibration"])
        return Bundle(**fields)
    except (KeyError, TypeError) as error:
        raise BundleError(f"{BUNDLE_FILE}: not a model bundle: {error}") from error


def dump_champion(champion: ChampionPointer) -> bytes:
    """Write `champion.json`."""
    return _canonical_json(asdict(champion))


def load_champion(content: bytes) -> ChampionPointer:
    """Read `champion.json`. Raises BundleError that names the fault."""
    try:
        return ChampionPointer(**_json_object(content, CHAMPION_FILE))
    except TypeError as error:
        raise BundleError(f"{CHAMPION_FILE}: not a pointer to a model: {error}") from error


def open_bundle(
    champion: ChampionPointer, files: Mapping[str, bytes], *, any_contract: bool = False
) -> Bundle:
    """Return the bundle in `files` after comparing every hash and, by default, the contract.

    The contract matches if the model's own fields are unchanged, even if fields were added since.
    Raises BundleError that names the difference.
    """
    content = _file(files, BUNDLE_FILE)
    _require_equal(f"{BUNDLE_FILE}: SHA-256", sha256(content), champion.bundle_sha256)
    bundle = load_bundle(content)
    _require_equal("model version", bundle.model_version, champion.model_version)
    if not any_contract and bundle.contract_fingerprint != model_fingerprint(bundle.features):
        _require_equal("contract fingerprint", bundle.contract_fingerprint, fingerprint())
    for name, expected in {MODEL_FILE: None, **bundle.files}.items():
        _require_equal(f"{name}: SHA-256", sha256(_file(files, name)), expected)
    return bundle


def bundle_key(model_version: str, name: str) -> str:
    """Return the key of a version's file below the model store."""
    return f"{MODELS_PREFIX}/{model_version}/{name}"


def champion_key() -> str:
    """Return the key of the pointer below the model store."""
    return f"{MODELS_PREFIX}/{CHAMPION_FILE}"


def _canonical_json(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False)
    return f"{text}\n".encode()


def _json_object(content: bytes, name: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise BundleError(f"{name}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BundleError(f"{name}: is a JSON {type(document).__name__}; allowed: an object")
    return document


def _file(files: Mapping[str, bytes], name: str) -> bytes:
    if name not in files:
        raise BundleError(f"{name}: missing from the model version")
    return files[name]


def _require_equal(name: str, actual: str, expected: str | None) -> None:
    if actual != expected:
        raise BundleError(f"{name} is {actual}; allowed: {expected}")
