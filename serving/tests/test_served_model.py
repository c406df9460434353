"""Bundles that are used or rejected, and predictions from measurements."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from diabetes_platform.contract.bundle import (
    BUNDLE_FILE,
    MODEL_FILE,
    Bundle,
    BundleError,
    ChampionPointer,
    dump_bundle,
)
from diabetes_platform.contract.fields import FEATURE_NAMES, FEATURES, RESULT_LABELS, fingerprint
from serving.app.served_model import ServedModel, open_in_subprocess, open_model, probe_rows
from serving.app.settings import PROJECT_ROOT
from serving.tests.bundles import champion_of, make_bundle, model_text
from serving.tests.samples import PATIENT, PATIENT_ROW, REQUIRED_ONLY

KILLED_PARENT = """
import multiprocessing, os, signal, threading, time
from serving.tests.test_served_model import open_valid_model

if __name__ == "__main__":
    threading.Thread(target=open_valid_model, daemon=True).start()
    while not multiprocessing.active_children():
        time.sleep(0.001)
    print("started", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def open_bundle(bundle_and_files: tuple[Bundle, dict[str, bytes]]) -> ServedModel:
    bundle, files = bundle_and_files
    return open_model(champion_of(bundle), files)


def open_valid_model() -> None:
    bundle, files = make_bundle()
    open_in_subprocess(champion_of(bundle), files)


def test_the_probability_is_calibrated() -> None:
    model = open_bundle(make_bundle(slope=0.8, intercept=0.3))
    score = model.scorer.score(PATIENT_ROW)
    prediction = model.predict(PATIENT)
    assert prediction["probability"] == pytest.approx(1 / (1 + math.exp(-(0.8 * score + 0.3))))
    assert prediction["model_version"] == model.bundle.model_version


@pytest.mark.parametrize(("distance", "label"), [(0.0, RESULT_LABELS[1]), (1e-9, RESULT_LABELS[0])])
def test_a_probability_at_the_threshold_is_diabetes(distance: float, label: str) -> None:
    probability = open_bundle(make_bundle()).predict(PATIENT)["probability"]
    model = open_bundle(make_bundle(threshold=probability + distance))
    assert model.predict(PATIENT)["result"] == label


def test_contributions_add_up_to_the_log_odds_of_the_probability() -> None:
    model = open_bundle(make_bundle(slope=0.7, intercept=-0.4))
    for prediction in model.predict_all([PATIENT, REQUIRED_ONLY], with_contributions=True):
        contributions = prediction["contributions"]
        assert set(contributions["features"]) == set(FEATURE_NAMES)
        odds = prediction["probability"] / (1 - prediction["probability"])
        total = contributions["bias"] + sum(contributions["features"].values())
        assert total == pytest.approx(math.log(odds))


def test_predict_all_equals_predict() -> None:
    model = open_bundle(make_bundle())
    patients = [PATIENT, REQUIRED_ONLY, PATIENT]
    assert model.predict_all(patients, with_contributions=False) == [
        model.predict(patient) for patient in patients
    ]
    assert model.predict_all([], with_contributions=True) == []


def test_probe_rows_include_bounds_example_and_missing_of_every_field() -> None:
    rows = probe_rows(FEATURES)
    for index, field in enumerate(FEATURES):
        column = [row[index] for row in rows]
        assert {field.minimum, field.maximum, field.example} <= set(column)
        assert None in column


def test_card_describes_the_bundle() -> None:
    card = open_bundle(make_bundle()).card()
    assert card["metrics"]["roc_auc"] == {"value": 0.8, "low": 0.75, "high": 0.85}
    assert [feature["name"] for feature in card["features"]] == list(FEATURE_NAMES)
    assert card["contract_fingerprint"] == fingerprint()


def test_rejects_a_bundle_of_another_contract() -> None:
    with pytest.raises(BundleError, match="contract fingerprint"):
        open_bundle(make_bundle(contract_fingerprint="0" * 64))


def test_rejects_a_tampered_model() -> None:
    bundle, files = make_bundle()
    files[MODEL_FILE] = files[MODEL_FILE].replace(b"leaf_value=-", b"leaf_value=", 1)
    with pytest.raises(BundleError, match=r"model\.txt: SHA-256"):
        open_bundle((bundle, files))


def test_rejects_a_tampered_bundle() -> None:
    bundle, files = make_bundle()
    files[BUNDLE_FILE] = dump_bundle(replace(bundle, threshold=0.01))
    with pytest.raises(BundleError, match=r"bundle\.json: SHA-256"):
        open_bundle((bundle, files))


def test_rejects_a_pointer_to_another_bundle() -> None:
    bundle, files = make_bundle()
    pointer = ChampionPointer(bundle.model_version, "0" * 64)
    with pytest.raises(BundleError, match="SHA-256"):
        open_model(pointer, files)


@pytest.mark.parametrize(
    ("bundle_and_files", "message"),
    [
        (make_bundle(features=("glucose", "shoe_size")), r"features: \['shoe_size'\] are not in"),
        (make_bundle(features=()), "features: the list is empty"),
        (make_bundle(features=FEATURE_NAMES[::-1]), "the model's columns are"),
        (make_bundle(threshold=1.5), "threshold is 1.5"),
        (make_bundle(text="no model"), "not a LightGBM model"),
    ],
    ids=["unknown feature", "no feature", "other order", "threshold", "model text"],
)
def test_rejects_a_bundle_that_cannot_predict(
    bundle_and_files: tuple[Bundle, dict[str, bytes]], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        open_bundle(bundle_and_files)


def test_a_valid_model_can_be_opened_in_a_subprocess() -> None:
    open_valid_model()


def test_the_error_of_the_subprocess_is_raised() -> None:
    bundle, files = make_bundle(contract_fingerprint="f" * 64)
    with pytest.raises(BundleError, match="contract fingerprint"):
        open_in_subprocess(champion_of(bundle), files)


def test_a_text_that_ends_the_subprocess_is_rejected() -> None:
    bundle, files = make_bundle(text=model_text().replace("leaf_value=", "leaf_value=nan ", 1))
    with pytest.raises(BundleError, match="LightGBM ends the process that reads it"):
        open_in_subprocess(champion_of(bundle), files)


@pytest.mark.integration
def test_the_subprocess_ends_silently_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "killed_parent.py"
    script.write_text(KILLED_PARENT, encoding="utf-8")
    # `run` returns when no process holds the output any more, so it would wait for a subprocess
    # that does not end.
    result = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=PROJECT_ROOT,
        env={"PYTHONPATH": str(PROJECT_ROOT)},
    )
    assert (result.returncode, result.stdout, result.stderr) == (-9, "started\n", "")
