"""Realistic patients to load the stream with: a smoothed bootstrap of real rows. Pure functions.

Whole rows are drawn, so that measurements keep their correlations and what is missing goes
together; a little noise makes each patient a new one.
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
    """Read a CSV table of patients; a code for missing becomes None.

    Raises ValueError that names the line and the reasons where a row breaks the contract.
    """
    patients = []
    for number, row in enumerate(csv.DictReader(lines), start=2):
        reasons = reasons_to_reject(row, FEATURES)
        if reasons:
            raise ValueError(f"line {number}: {', '.join(map(str, reasons))}")
        patients.append({field.name: parse(field, row[field.name]).value for field in FEATURES})
    return patients


def sample_patients(patients: list[Patient], seed: int) -> Iterator[Patient]:
    """Yield new patients like `patients` for ever, each allowed by the contract; ValueError.

    The same seed gives the same patients.
    """
    if not patients:
        raise ValueError("patients to draw from: given none, allowed one or more")
    random = np.random.default_rng(seed)
    spread = _spread(patients)
    while True:
        drawn = patients[int(random.integers(len(patients)))]
        noise = random.normal(size=len(FEATURES))
        yield {
            field.name: _varied(field, drawn[field.name], spread[field.name] * float(one))
            for field, one in zip(FEATURES, noise, strict=True)
        }


def _spread(patients: list[Patient]) -> Mapping[str, float]:
    columns = {
        field.name: [value for one in patients if (value := one[field.name]) is not None]
        for field in FEATURES
    }
    return {
        name: _BANDWIDTH * float(np.std(values)) if values else 0.0
        for name, values in columns.items()
    }


def _varied(field: Field, value: float | None, noise: float) -> float | None:
    if value is None:
        return None
    # At a person's resolution, which is a whole number of steps.
    steps = round((value + noise) / field.step)
    kept = min(max(round(steps * field.step, 6), field.minimum), field.maximum)
    # A value that is written for "not measured" is none.
    return None if kept in field.missing_codes else float(kept)
