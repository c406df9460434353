"""Synthetic patients for load runs: a smoothed bootstrap of real rows. Pure functions.

Complete rows are drawn, which keeps the correlations between measurements and the pattern of
missing values; a little noise makes every patient a new one.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from diabetes_platform.contract.fields import FEATURES, Field
from diabetes_platform.contract.validation import parse, reasons_to_reject

Patient = dict[str, float | None]

_BANDWIDTH = 0.1
"""Noise in standard deviations of a measurement."""


def read_patients(lines: Iterable[str]) -> list[Patient]:
    """Parse a CSV table of patients; codes for missing values become None.

    Raises ValueError with the line and the reasons if a row violates the contract.
    """
    patients = []
    for number, row in enumerate(csv.DictReader(lines), start=2):
        reasons = reasons_to_reject(row, FEATURES)
        if reasons:
            raise ValueError(f"line {number}: {', '.join(map(str, reasons))}")
        patients.append({field.name: parse(field, row[field.name]).value for field in FEATURES})
    return patients


def sample_patients(patients: list[Patient], seed: int) -> Iterator[Patient]:
    """Yield an endless sequence of new patients similar to `patients`, valid by the contract.

    The same seed gives the same patients. Raises ValueError if `patients` is empty.
    """
    if not patients:
        raise ValueError("at least one patient to draw from is required")
    random = np.random.default_rng(seed)
    spread = _spread(patients)
    while True:
        patient = patients[int(random.integers(len(patients)))]
        noise = random.normal(size=len(FEATURES))
        yield {
            field.name: _add_noise(
                field, patient[field.name], spread[field.name] * float(deviation)
            )
            for field, deviation in zip(FEATURES, noise, strict=True)
        }


def _spread(patients: list[Patient]) -> Mapping[str, float]:
    columns = {
        field.name: [value for patient in patients if (value := patient[field.name]) is not None]
        for field in FEATURES
    }
    return {
        name: _BANDWIDTH * float(np.std(values)) if values else 0.0
        for name, values in columns.items()
    }


def _add_noise(field: Field, value: float | None, noise: float) -> float | None:
    if value is None:
        return None
    # Measurements have a resolution: a multiple of the field's step.
    steps = round((value + noise) / field.step)
    result = min(max(round(steps * field.step, 6), field.minimum), field.maximum)
    # The code for "not measured" would be read as a missing value.
    return None if result in field.missing_codes else float(result)
