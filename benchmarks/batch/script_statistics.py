"""The script's statistics: quartiles by nearest rank and the fences beyond them."""

import polars as pl

from benchmarks.batch.script_rules import passes
from diabetes_platform.contract.fields import FEATURES, Field

FENCE = 3.0


def quartiles(numbers: pl.DataFrame, batch_id: str) -> pl.DataFrame:
    """Return the contract's `statistics/patients` of the rows that pass every row rule."""
    passing = numbers.lazy().filter(passes())
    measured = passing.select(
        pl.concat_list(
            pl.col(f.name).quantile(q, interpolation="equiprobable") for q in (0.25, 0.5, 0.75)
        ).alias(f.name)
        for f in FEATURES
    ).collect()
    counts = passing.select(pl.col(f.name).count() for f in FEATURES).collect()
    return pl.DataFrame(
        [_statistics(f, counts[f.name][0], measured[f.name][0].to_list()) for f in FEATURES],
        schema_overrides={"count": pl.Int64},
    ).with_columns(batch_id=pl.lit(batch_id))


def _statistics(field: Field, count: int, at: list[float | None]) -> dict[str, object]:
    q1, median, q3 = at
    lower, upper = _fences(field, q1, q3)
    names = ("field", "count", "q1", "median", "q3", "lower_fence", "upper_fence")
    return dict(zip(names, (field.name, count, q1, median, q3, lower, upper), strict=True))


def _fences(
    field: Field, q1: float | None, q3: float | None
) -> tuple[float, float] | tuple[None, None]:
    if q1 is None or q3 is None or q1 == q3 or (field.skewed and q1 <= 0):
        return None, None
    if field.skewed:
        down, up = q1 / q3, q3 / q1
        return q1 * down * down * down, q3 * up * up * up
    return q1 - FENCE * (q3 - q1), q3 + FENCE * (q3 - q1)
