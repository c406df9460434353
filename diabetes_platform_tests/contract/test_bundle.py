"""The bundle: what training writes is what the API reads, and nothing else is accepted."""

from dataclasses import replace

import pytest

from diabetes_platform.contract.bundle import (
    BUNDLE_FILE,
    MODEL_FILE,
    Bundle,
    BundleError,
    Calibration,
    ChampionPointer,
    dump_bundle,
    dump_champion,
    load_bundle,
    load_champion,
    open_bundle,
    sha256,
    with_content_version,
)
from diabetes_platform.contract.fields import fingerprint, model_fingerprint

MODEL = b"tree\n"
BUNDLE = with_content_version(
    Bundle(
        model_version="",
        features=("glucose", "bmi"),
        calibration=Calibration(slope=1.0, intercept=0.0),
        threshold=0.5,
        metrics={"auc": {"value": 0.8, "low": 0.7, "high": 0.9}},
        training={"rows": 2, "seed": 1},
        contract_fingerprint=str(model_fingerprint(("glucose", "bmi"))),
        libraries={"lightgbm": "4"},
        files={MODEL_FILE: sha256(MODEL)},
    )
)
FILES = {MODEL_FILE: MODEL, BUNDLE_FILE: dump_bundle(BUNDLE)}
CHAMPION = ChampionPointer(BUNDLE.model_version, sha256(FILES[BUNDLE_FILE]))


def test_reads_what_it_writes() -> None:
    assert load_bundle(dump_bundle(BUNDLE)) == BUNDLE
    assert load_champion(dump_champion(CHAMPION)) == CHAMPION
    assert open_bundle(CHAMPION, FILES) == BUNDLE


def test_a_version_is_named_by_its_content() -> None:
    assert with_content_version(BUNDLE) == BUNDLE
    assert (
        with_content_version(replace(BUNDLE, threshold=0.6)).model_version != BUNDLE.model_version
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({MODEL_FILE: b"other"}, r"model\.txt: SHA-256 is"),
        ({BUNDLE_FILE: FILES[BUNDLE_FILE].replace(b"0.5", b"0.1")}, r"bundle\.json: SHA-256"),
    ],
)
def test_rejects_a_changed_file(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        open_bundle(CHAMPION, FILES | files)


def test_rejects_a_bundle_of_another_contract_unless_any_is_allowed() -> None:
    other = with_content_version(replace(BUNDLE, contract_fingerprint="e" * 64))
    files = {MODEL_FILE: MODEL, BUNDLE_FILE: dump_bundle(other)}
    champion = ChampionPointer(other.model_version, sha256(files[BUNDLE_FILE]))
    with pytest.raises(BundleError, match=f"contract fingerprint is e+; allowed: {fingerprint()}"):
        open_bundle(champion, files)
    assert open_bundle(champion, files, any_contract=True) == other


@pytest.mark.parametrize("name", [MODEL_FILE, BUNDLE_FILE])
def test_rejects_a_version_with_a_missing_file(name: str) -> None:
    files = {key: content for key, content in FILES.items() if key != name}
    with pytest.raises(BundleError, match=f"{name}: missing"):
        open_bundle(CHAMPION, files)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not json", "not JSON"),
        (b"[]", "is a JSON list; allowed: an object"),
        (b'{"format": 2}', "format is 2; allowed: 1"),
        (b'{"format": 1}', "not a model bundle"),
    ],
)
def test_rejects_a_document_that_is_no_bundle(content: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        load_bundle(content)
    with pytest.raises(BundleError):
        load_champion(content)


@pytest.mark.parametrize(
    ("score", "probability"), [(0.0, 0.5), (800.0, 1.0), (-800.0, 0.0), (1.0, 0.7310585786300049)]
)
def test_calibration_is_the_logistic_of_a_line_without_overflow(
    score: float, probability: float
) -> None:
    assert Calibration(slope=1.0, intercept=0.0).probability(score) == probability
