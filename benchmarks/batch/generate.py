"""Synthetic patients for this benchmark: resampled Pima rows with jitter and invalid values.

`python -m benchmarks.batch.generate ROWS FILE [--seed N]` writes CSV. The same rows and seed give
the same bytes. Nothing here may reach training: these are no observations.
"""

import argparse
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diabetes_platform.contract.fields import FEATURES, FIELD_NAMES, FIELDS, OUTCOME, Field
from diabetes_platform.settings import PIMA_CSV

SEED = 20_260_101
JITTER = 0.25
"""A measured value moves by up to this share of the field's standard deviation."""
MISSING_RATE = 0.01
"""Of the measured values of each optional field: half become its code, half an empty cell."""
BAD_RATE = 0.02
"""Of the rows: one field is replaced by a text that rejects the row."""
DUPLICATE_RATE = 0.01
"""Of the rows: copies of an earlier row."""

_CHUNK = 500_000


def write_patients(path: Path, rows: int, seed: int = SEED) -> None:
    """Write `rows` made-up patients to `path` as CSV with the contract's header."""
    real = pl.read_csv(PIMA_CSV, columns=list(FIELD_NAMES)).cast(pl.Float64)
    with path.open("wb") as file:
        for start in range(0, rows, _CHUNK):
            count = min(_CHUNK, rows - start)
            random = np.random.default_rng((seed, start))
            _append(file, _chunk(real, count, random), header=start == 0)


def bad_texts(field: Field) -> tuple[str, ...]:
    """Return texts that reject a row whatever its other fields hold."""
    beyond = (f"{10 * field.maximum:g}", "-1", "1e308", "nan", "-Infinity", "n/a", "1,5", "0x1p3")
    required = ("",) if field.required else ()
    fractions = ("0.5",) if field.kind == "integer" else ()
    return (*beyond, *required, *fractions)


def _append(file: BinaryIO, chunk: pl.DataFrame, *, header: bool) -> None:
    chunk.write_csv(file, include_header=header)


def _chunk(real: pl.DataFrame, rows: int, random: np.random.Generator) -> pl.DataFrame:
    drawn = real[random.integers(0, real.height, rows)]
    bad = random.random(rows) < BAD_RATE
    bad_field = random.integers(0, len(FIELDS), rows)
    columns = [
        _column(field, real[field.name], drawn[field.name], bad & (bad_field == n), random)
        for n, field in enumerate(FIELDS)
    ]
    return pl.DataFrame(columns)[_with_duplicates(rows, random)]


def _column(
    field: Field,
    real: pl.Series,
    drawn: pl.Series,
    bad: NDArray[np.bool_],
    random: np.random.Generator,
) -> pl.Series:
    """Return one field's cells as a source writes them."""
    cells = pl.Series(field.name, _jittered(field, real, drawn, random)).cast(pl.String)
    cells = cells.str.strip_suffix(".0")
    if field in FEATURES and not field.required:
        missing = pl.Series(random.random(bad.size) < MISSING_RATE)
        empty = pl.Series(["0", ""])[random.integers(0, 2, bad.size)]
        cells = empty.zip_with(missing, cells)
    texts = bad_texts(field)
    refused = pl.Series(texts)[random.integers(0, len(texts), bad.size)]
    return refused.zip_with(pl.Series(bad), cells).alias(field.name)


def _jittered(
    field: Field, real: pl.Series, drawn: pl.Series, random: np.random.Generator
) -> NDArray[np.float64]:
    """Move measured values by whole steps within the allowed range; codes for missing stay."""
    values = drawn.to_numpy()
    if field == OUTCOME:
        return values
    per_unit = round(1 / field.step)
    missing = np.isin(values, field.missing_codes)
    observed = real.to_numpy()
    spread = np.std(observed[~np.isin(observed, field.missing_codes)])
    reach = max(1, round(JITTER * spread * per_unit))
    steps = np.rint(values * per_unit) + random.integers(-reach, reach + 1, values.size)
    moved = np.clip(steps, field.minimum * per_unit, field.maximum * per_unit) / per_unit
    return np.where(missing, values, moved)


def _with_duplicates(rows: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return row numbers in which some rows point back at an earlier one."""
    numbers = np.arange(rows)
    earlier = (random.random(rows) * numbers).astype(np.int64)
    return np.where(random.random(rows) < DUPLICATE_RATE, earlier, numbers)


def main() -> None:
    """Write a file and say how large it is."""
    parser = argparse.ArgumentParser(description="Write made-up patients as CSV.")
    parser.add_argument("rows", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    write_patients(arguments.file, arguments.rows, arguments.seed)
    print(f"{arguments.file}: {arguments.rows} rows, {arguments.file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
