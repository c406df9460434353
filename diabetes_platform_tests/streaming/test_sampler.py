"""The patients of a load run are like the real ones, allowed, and the same for the same seed."""

from itertools import islice

import numpy as np
import pytest

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.validation import reasons_to_reject
from diabetes_platform.settings import PIMA_CSV
from diabetes_platform.streaming.sampler import Patient, read_patients, sample_patients

COUNT = 4000


@pytest.fixture(scope="module")
def real() -> list[Patient]:
    with PIMA_CSV.open(encoding="utf-8", newline="") as lines:
        return read_patients(lines)


@pytest.fixture(scope="module")
def made(real: list[Patient]) -> list[Patient]:
    return list(islice(sample_patients(real, seed=1), COUNT))


def column(patients: list[Patient], name: str) -> list[float]:
    return [value for one in patients if (value := one[name]) is not None]


def test_every_patient_is_allowed_and_measured_in_whole_steps(made: list[Patient]) -> None:
    for patient in made:
        assert reasons_to_reject(patient, FEATURES) == ()
        for field in FEATURES:
            value = patient[field.name]
            if value is not None:
                assert value / field.step == pytest.approx(round(value / field.step))


def test_they_are_new_patients(real: list[Patient], made: list[Patient]) -> None:
    known = {tuple(one.values()) for one in real}
    assert sum(tuple(one.values()) in known for one in made) < 0.02 * COUNT
    assert len({tuple(one.values()) for one in made}) > 0.98 * COUNT


@pytest.mark.parametrize("name", [field.name for field in FEATURES])
def test_each_measurement_is_distributed_and_missing_as_in_the_data(
    real: list[Patient], made: list[Patient], name: str
) -> None:
    before, after = column(real, name), column(made, name)
    assert np.mean(after) == pytest.approx(np.mean(before), abs=0.1 * np.std(before))
    assert np.std(after) == pytest.approx(np.std(before), rel=0.15)
    missing = [1 - len(before) / len(real), 1 - len(after) / len(made)]
    assert missing[1] == pytest.approx(missing[0], abs=0.03)


@pytest.mark.parametrize("pair", [("age", "pregnancies"), ("skin_thickness", "bmi")])
def test_measurements_hang_together_as_in_the_data(
    real: list[Patient], made: list[Patient], pair: tuple[str, str]
) -> None:
    strength = []
    for patients in (real, made):
        both = [(one[pair[0]], one[pair[1]]) for one in patients if None not in map(one.get, pair)]
        strength.append(np.corrcoef(np.array(both, dtype=float).T)[0, 1])
    assert strength[0] > 0.5
    assert strength[1] == pytest.approx(strength[0], abs=0.07)


def test_a_seed_decides_the_patients(real: list[Patient], made: list[Patient]) -> None:
    assert list(islice(sample_patients(real, seed=1), 50)) == made[:50]
    assert list(islice(sample_patients(real, seed=2), 50)) != made[:50]


def test_a_table_that_breaks_the_contract_is_refused_with_its_line() -> None:
    header = ",".join(field.name for field in FEATURES)
    with pytest.raises(ValueError, match="line 2: glucose:above_maximum"):
        read_patients([header, "1,700,70,20,80,30,0.5,40"])
    with pytest.raises(ValueError, match="given none"):
        next(sample_patients([], seed=1))
