"""Which bundles are used, and how one turns measurements into an answer."""

import math
from dataclasses import replace

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
from serving.app.served_model import ServedModel, open_model, probe_rows
from serving.app.validation import EXAMPLE_PATIENT, Patient
from serving.tests.bundles import champion_of, make_bundle

EXAMPLE = Patient.model_validate(EXAMPLE_PATIENT)
UNMEASURED = Patient.model_validate(
    {field.name: field.example if field.required else None for field in FEATURES}
)


def open_all(made: tuple[Bundle, dict[str, bytes]]) -> ServedModel:
    bundle, files = made
    return open_model(champion_of(bundle), files, contract_fingerprint=fingerprint())


def test_the_answer_follows_calibration_and_threshold() -> None:
    model = open_all(make_bundle(slope=0.8, intercept=0.3))
    score = model.scorer.score([float(value) for value in EXAMPLE_PATIENT.values()])
    answer = model.predict(EXAMPLE)
    assert answer["probability"] == pytest.approx(1 / (1 + math.exp(-(0.8 * score + 0.3))))
    assert answer["model_version"] == model.bundle.model_version


@pytest.mark.parametrize(("above", "label"), [(0.0, RESULT_LABELS[1]), (1e-9, RESULT_LABELS[0])])
def test_the_threshold_itself_is_diabetes(above: float, label: str) -> None:
    probability = open_all(make_bundle()).predict(EXAMPLE)["probability"]
    model = open_all(make_bundle(threshold=probability + above))
    assert model.predict(EXAMPLE)["result"] == label


def test_contributions_add_up_to_the_log_odds_of_the_probability() -> None:
    model = open_all(make_bundle(slope=0.7, intercept=-0.4))
    for answer in model.predict_all([EXAMPLE, UNMEASURED], with_contributions=True):
        shares = answer["contributions"]
        assert set(shares["features"]) == set(FEATURE_NAMES)
        odds = answer["probability"] / (1 - answer["probability"])
        assert shares["bias"] + sum(shares["features"].values()) == pytest.approx(math.log(odds))


def test_many_are_answered_like_one() -> None:
    model = open_all(make_bundle())
    patients = [EXAMPLE, UNMEASURED, EXAMPLE]
    assert model.predict_all(patients, with_contributions=False) == [
        model.predict(patient) for patient in patients
    ]
    assert model.predict_all([], with_contributions=True) == []


def test_probe_rows_try_every_field_at_its_bounds_and_missing() -> None:
    rows = probe_rows(FEATURES)
    for index, field in enumerate(FEATURES):
        column = [row[index] for row in rows]
        assert {field.minimum, field.maximum, field.example} <= set(column)
        assert None in column


def test_the_card_tells_the_bundle() -> None:
    model = open_all(make_bundle())
    card = model.card()
    assert card["metrics"]["roc_auc"] == {"value": 0.8, "low": 0.75, "high": 0.85}
    assert [feature["name"] for feature in card["features"]] == list(FEATURE_NAMES)
    assert card["contract_fingerprint"] == fingerprint()


def test_a_foreign_contract_is_refused() -> None:
    with pytest.raises(BundleError, match="contract fingerprint"):
        open_all(make_bundle(contract_fingerprint="0" * 64))


def test_a_tampered_model_is_refused() -> None:
    bundle, files = make_bundle()
    files[MODEL_FILE] = files[MODEL_FILE].replace(b"leaf_value=-", b"leaf_value=", 1)
    with pytest.raises(BundleError, match=r"model\.txt: SHA-256"):
        open_all((bundle, files))


def test_a_tampered_bundle_is_refused() -> None:
    bundle, files = make_bundle()
    files[BUNDLE_FILE] = dump_bundle(replace(bundle, threshold=0.01))
    with pytest.raises(BundleError, match=r"bundle\.json: SHA-256"):
        open_all((bundle, files))


def test_a_pointer_to_another_bundle_is_refused() -> None:
    bundle, files = make_bundle()
    with pytest.raises(BundleError, match="SHA-256"):
        open_model(
            ChampionPointer(bundle.model_version, "0" * 64),
            files,
            contract_fingerprint=fingerprint(),
        )


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            make_bundle(features=("glucose", "shoe_size")),
            r"features: \['shoe_size'\] are not in",
        ),
        (make_bundle(features=()), "features"),
        (make_bundle(features=FEATURE_NAMES[::-1]), "model's columns"),
        (make_bundle(threshold=1.5), "threshold is 1.5"),
        (make_bundle(text="no model"), "not a LightGBM model"),
    ],
    ids=["unknown feature", "no feature", "other order", "threshold", "model text"],
)
def test_a_bundle_that_cannot_answer_is_refused(
    made: tuple[Bundle, dict[str, bytes]], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        open_all(made)
