"""Raw batches for the tests: written as the lake writes them, dirty in every way, seeded."""

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake

from diabetes_platform.contract.fields import FEATURES, FIELDS, Field
from diabetes_platform.contract.tables import RAW_PATIENTS
from diabetes_platform.lake.arrow import arrow_schema
from diabetes_platform.lake.delta import DeltaPath
from diabetes_platform_tests.contract.cases import EVERYWHERE, ORDINARY, Row

FIRST_LINE = 2
RECEIVED_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Batch:
    """A batch in a lake of its own: `rows` in source order, the first on line 2."""

    lake: Path
    content_hash: str
    rows: list[Row]

    @property
    def batch_id(self) -> str:
        return self.content_hash[:12]

    @property
    def raw(self) -> DeltaPath:
        return self.table("raw")

    def table(self, name: str) -> DeltaPath:
        return DeltaPath(str(self.lake / name / "patients"))


def write_batch(lake: Path, rows: Iterable[Row]) -> Batch:
    """Append `rows` to the raw table of `lake`."""
    rows = list(rows)
    content_hash = hashlib.sha256(repr(rows).encode()).hexdigest()
    batch = Batch(lake, content_hash, rows)
    write_deltalake(
        batch.raw.path,
        raw_table(rows, content_hash),
        mode="append",
        partition_by=["content_hash"],
    )
    return batch


def raw_table(rows: Iterable[Row], content_hash: str) -> pa.Table:
    """The rows as `raw/patients` holds them."""
    origin = {"content_hash": content_hash, "source": "sample", "received_at": RECEIVED_AT}
    return pa.Table.from_pylist(
        [{"source_line": line, **row, **origin} for line, row in enumerate(rows, FIRST_LINE)],
        schema=arrow_schema(RAW_PATIENTS),
    )


def patients(count: int, **changed: Callable[[int], str | None]) -> list[Row]:
    """Ordinary patients who differ in age and pedigree; `changed` computes further values."""
    rows = []
    for number in range(count):
        differing = {
            "age": str(21 + number % 60),
            "diabetes_pedigree_function": f"{0.3 + number / 50:.3f}",
        }
        rows.append(
            {**ORDINARY, **differing, **{name: value(number) for name, value in changed.items()}}
        )
    return rows


def dirty_rows(count: int, seed: int) -> list[Row]:
    """Rows with dirty values of all kinds, exact and disguised duplicates, and outliers."""
    random_ = random.Random(seed)
    rows: list[Row] = []
    while len(rows) < count:
        if rows and random_.random() < 0.05:
            rows.append(_copy(random_.choice(rows), random_))
            continue
        row = {field.name: _plausible(field, random_) for field in FIELDS}
        for field in FIELDS:
            if random_.random() < 0.01:
                row[field.name] = random_.choice(list(EVERYWHERE.values()))
        if random_.random() < 0.01:
            field = random_.choice(FEATURES)
            row[field.name] = format(random_.choice((field.minimum, field.maximum)), "g")
        rows.append(row)
    return rows


def _plausible(field: Field, random_: random.Random) -> str | None:
    if field.allowed is not None:
        return random_.choice((*map(str, field.allowed), None))
    if field.missing_codes and random_.random() < 0.2:
        return format(random_.choice(field.missing_codes), "g")
    low, high = field.typical_mean
    value = random_.lognormvariate(0, 0.4) * (low + high) / 2
    value = min(max(value, field.minimum), field.maximum)
    return str(round(value)) if field.step == 1 else f"{value:.3f}"


def _copy(row: Mapping[str, str | None], random_: random.Random) -> Row:
    """The same values, at times written in another way."""
    if random_.random() < 0.5:
        return dict(row)
    return {name: None if value is None else f" {value} " for name, value in row.items()}
