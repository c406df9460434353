"""Synthetic patients resemble the real ones; each kind of broken event has a fault of its own."""

import json
from itertools import islice
from typing import Any

import numpy as np
import pytest

from diabetes_platform.contract.change_events import (
    IMAGE_KEYS,
    Change,
    Invalid,
    validate_change_event,
)
from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.validation import reasons_to_reject
from diabetes_platform.settings import PIMA_CSV
from diabetes_platform.streaming.load_events import (
    KINDS,
    Patient,
    broken_event,
    change_event,
    read_patients,
    sample_patients,
)
from diabetes_platform_tests.samples import EXAMPLE

COUNT = 4000


@pytest.fixture(scope="module")
def real() -> list[Patient]:
    with PIMA_CSV.open(encoding="utf-8", newline="") as lines:
        return read_patients(lines)


@pytest.fixture(scope="module")
def synthetic(real: list[Patient]) -> list[Patient]:
    return list(islice(sample_patients(real, seed=1), COUNT))


def column(patients: list[Patient], name: str) -> list[float]:
    return [value for patient in patients if (value := patient[name]) is not None]


def test_satisfies_the_contract_at_the_resolution_of_each_field(synthetic: list[Patient]) -> None:
    for patient in synthetic:
        assert reasons_to_reject(patient, FEATURES) == ()
        for field in FEATURES:
            value = patient[field.name]
            if value is not None:
                assert value / field.step == pytest.approx(round(value / field.step))


def test_repeats_almost_no_real_patient(real: list[Patient], synthetic: list[Patient]) -> None:
    copies = {tuple(patient.values()) for patient in real}
    rows = [tuple(patient.values()) for patient in synthetic]
    assert sum(row in copies for row in rows) < 0.02 * COUNT
    assert len(set(rows)) > 0.98 * COUNT


@pytest.mark.parametrize("name", [field.name for field in FEATURES if field.original])
def test_keeps_the_distribution_and_the_missing_share_of_each_field(
    real: list[Patient], synthetic: list[Patient], name: str
) -> None:
    expected, values = column(real, name), column(synthetic, name)
    assert np.mean(values) == pytest.approx(np.mean(expected), abs=0.1 * np.std(expected))
    assert np.std(values) == pytest.approx(np.std(expected), rel=0.15)
    missing = [1 - len(expected) / len(real), 1 - len(values) / len(synthetic)]
    assert missing[1] == pytest.approx(missing[0], abs=0.03)


@pytest.mark.parametrize("pair", [("age", "pregnancies"), ("skin_thickness", "bmi")])
def test_keeps_correlations_between_fields(
    real: list[Patient], synthetic: list[Patient], pair: tuple[str, str]
) -> None:
    correlations = []
    for patients in (real, synthetic):
        rows = [[patient[name] for name in pair] for patient in patients]
        complete = [row for row in rows if None not in row]
        correlations.append(np.corrcoef(np.array(complete, dtype=float).T)[0, 1])
    assert correlations[0] > 0.5
    assert correlations[1] == pytest.approx(correlations[0], abs=0.07)


def test_depends_on_the_seed(real: list[Patient], synthetic: list[Patient]) -> None:
    assert list(islice(sample_patients(real, seed=1), 50)) == synthetic[:50]
    assert list(islice(sample_patients(real, seed=2), 50)) != synthetic[:50]


def test_rejects_an_invalid_table_with_the_line_and_an_empty_one() -> None:
    header = ",".join(field.name for field in FEATURES)
    with pytest.raises(ValueError, match="line 2: glucose:above_maximum"):
        read_patients([header, "1,700,70,20,80,30,0.5,40"])
    with pytest.raises(ValueError, match="at least one patient"):
        next(sample_patients([], seed=1))


def event() -> dict[str, Any]:
    return change_event(5, EXAMPLE, lsn=7, now_ms=1000)


def test_a_change_event_has_every_key_of_the_contract() -> None:
    complete = event()
    assert set(complete) >= {"before", "after", "source", "op", "ts_ms"}
    assert set(complete["source"]) >= {"lsn", "ts_ms", "table", "snapshot"}
    assert tuple(complete["after"]) == IMAGE_KEYS


def test_every_kind_has_a_different_fault_and_none_is_valid() -> None:
    valid = (json.dumps({"id": 5}).encode(), json.dumps(event()).encode())
    broken = [broken_event(kind, event()) for kind in range(KINDS)]
    assert len(set(broken)) == KINDS
    assert isinstance(validate_change_event(*valid, now_ms=2000), Change)
    outcomes = [validate_change_event(*b, now_ms=2000) for b in broken]
    rejected = [outcome for outcome in outcomes if isinstance(outcome, Invalid)]
    assert len(rejected) == KINDS
    assert max(len(outcome.reasons) for outcome in rejected) == len(FEATURES)
    assert broken_event(KINDS, event()) == broken[0]
