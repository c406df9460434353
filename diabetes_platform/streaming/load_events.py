"""Events of load runs: synthetic patients, and invalid changes as a broken source would send them.

The patients are a smoothed bootstrap of real rows. Complete rows are drawn, which keeps the
correlations between measurements and the pattern of missing values; a little noise makes every
patient a new one. Pure functions.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from diabetes_platform.contract.change_events import IMAGE_KEYS
from diabetes_platform.contract.fields import FEATURES, Field
from diabetes_platform.contract.tables import DIABETES_NEW
from diabetes_platform.contract.validation import parse, reasons_to_reject

Patient = dict[str, float | None]
Event = tuple[bytes | None, bytes | None]
"""Key and value."""

FIRST_UNUSED_ID = 2**40
"""No patient has this id or a higher one, so a broken event cannot change a real patient."""
_BANDWIDTH = 0.1
"""Noise in standard deviations of a measurement."""
_FAULTS: tuple[dict[str, object], ...] = (
    {"source.lsn": None},
    {"op": "x"},
    {"after": None},
    {"after.age": "50"},
    {f"after.{field.name}": field.maximum + 1 for field in FEATURES},
    {"after.pregnancies": -1},
    {"after.diabetes_pedigree_function": None},
    {"after.id": str(FIRST_UNUSED_ID)},
)
"""Members of a change event and invalid values for them."""
KINDS = len(_FAULTS) + 3
"""The number of kinds of broken events."""


def read_patients(lines: Iterable[str]) -> list[Patient]:
    """Parse a CSV table of patients; absent columns and codes for missing values become None.

    Raises ValueError with the line and the reasons if a row violates the contract.
    """
    patients = []
    for number, row in enumerate(csv.DictReader(lines), start=2):
        reasons = reasons_to_reject(row, FEATURES)
        if reasons:
            raise ValueError(f"line {number}: {', '.join(map(str, reasons))}")
        patients.append({field.name: parse(field, row.get(field.name)).value for field in FEATURES})
    return patients


def sample_patients(patients: list[Patient], seed: int) -> Iterator[Patient]:
    """Yield an endless sequence of new patients similar to `patients`, valid by the contract.

    The same seed gives the same patients. Raises ValueError if `patients` is empty.
    """
    if not patients:
        raise ValueError("at least one patient to draw from is required")
    random = np.random.default_rng(seed)
    columns = ([value for p in patients if (value := p[f.name]) is not None] for f in FEATURES)
    bandwidths = [_BANDWIDTH * float(np.std(values)) if values else 0.0 for values in columns]
    while True:
        patient = patients[int(random.integers(len(patients)))]
        noise = random.normal(size=len(FEATURES)) * bandwidths
        yield {
            field.name: _add_noise(field, patient[field.name], float(deviation))
            for field, deviation in zip(FEATURES, noise, strict=True)
        }


def _add_noise(field: Field, value: float | None, noise: float) -> float | None:
    if value is None:
        return None
    # Measurements have a resolution: a multiple of the field's step.
    steps = round((value + noise) / field.step)
    result = min(max(round(steps * field.step, 6), field.minimum), field.maximum)
    # The code for "not measured" would be read as a missing value.
    return None if result in field.missing_codes else float(result)


def change_event(
    intake_id: int, patient: Mapping[str, float | None], *, lsn: int, now_ms: int
) -> dict[str, Any]:
    """Return the insertion of an intake row as Debezium writes it, without its schema."""
    image = dict.fromkeys(IMAGE_KEYS) | dict(patient)
    image |= {"id": intake_id, "received_at": "2026-01-01T00:00:00Z"}
    schema, table = DIABETES_NEW.name.split(".")
    source = {"schema": schema, "table": table, "lsn": lsn, "ts_ms": now_ms, "snapshot": "false"}
    return {"before": None, "after": image, "source": source, "op": "c", "ts_ms": now_ms}


def broken_event(kind: int, event: dict[str, Any]) -> Event:
    """Return `event` with the fault `kind % KINDS`; `event` is modified."""
    kind %= KINDS
    key = json.dumps({"id": event["after"]["id"]}).encode()
    if kind < len(_FAULTS):
        for member, invalid in _FAULTS[kind].items():
            parent, _, name = member.rpartition(".")
            (event[parent] if parent else event)[name] = invalid
        return key, json.dumps(event).encode()
    value = json.dumps(event).encode()
    raw_events = [(key, value[: len(value) // 2]), (key, b"\xff\xfe\x00"), (None, value)]
    return raw_events[kind - len(_FAULTS)]
