"""Row count and histograms of the promoted version, read from PostgreSQL for comparisons."""

from collections.abc import Iterable, Mapping

import psycopg
from psycopg import sql

from diabetes_platform.contract.fields import FEATURES, Field
from diabetes_platform.contract.tables import SERVING_PATIENTS
from diabetes_platform.quality.expectations import Partition, PreviousBatch

DECILES = tuple(tenth / 10 for tenth in range(1, 10))
EMPTY_BIN = 0.5
"""Added to every count: a value in a bin that was empty before is rare, not impossible."""


def read_previous(url: str, table: str = SERVING_PATIENTS.name) -> PreviousBatch | None:
    """Return what `table` (schema.name) says about the next batch; None: absent or empty.

    `url` is a libpq URL (`postgresql://…`). Raises psycopg.Error if the server cannot answer.
    """
    schema, _, name = table.partition(".")
    source = sql.Identifier(schema, name)
    with psycopg.connect(url) as connection:
        # One snapshot: edges and counts must come from the same version.
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        if not _exists(connection, table):
            return None
        rows, deciles = _deciles(connection, source)
        if not rows:
            return None
        edges = {field.name: bin_edges(field, deciles[field.name]) for field in FEATURES}
        counts = {field.name: _counts(connection, source, field, edges) for field in FEATURES}
    found = ((name, partition(edges[name], counts[name])) for name in edges)
    return PreviousBatch(rows, {name: each for name, each in found if each is not None})


def bin_edges(field: Field, deciles: Iterable[float] | None) -> tuple[float, ...]:
    """Return rising edges from the field's minimum to its maximum through its distinct deciles."""
    inner = {float(each) for each in deciles or () if field.minimum < each < field.maximum}
    return (float(field.minimum), *sorted(inner), float(field.maximum))


def partition(edges: tuple[float, ...], counts: Mapping[int, int]) -> Partition | None:
    """Return the histogram of `counts` by bin number (from 1); None without any value.

    The number after the last bin counts the values that equal the last edge: they close it.
    """
    bins = len(edges) - 1
    in_bin = [counts.get(number, 0) for number in range(1, bins + 1)]
    in_bin[-1] += counts.get(bins + 1, 0)
    if not any(in_bin):
        return None
    total = sum(in_bin) + EMPTY_BIN * bins
    return Partition(edges, tuple((count + EMPTY_BIN) / total for count in in_bin))


def _exists(connection: psycopg.Connection, table: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
    return bool(row and row[0])


def _deciles(
    connection: psycopg.Connection, source: sql.Identifier
) -> tuple[int, dict[str, list[float] | None]]:
    columns = [
        sql.SQL("percentile_disc(%(deciles)s::float8[]) WITHIN GROUP (ORDER BY {})").format(
            sql.Identifier(field.name)
        )
        for field in FEATURES
    ]
    query = sql.SQL("SELECT count(*), {} FROM {}").format(sql.SQL(", ").join(columns), source)
    row = connection.execute(query, {"deciles": list(DECILES)}).fetchone()
    if row is None:
        raise psycopg.DataError("an aggregate without a row")
    count, *deciles = row
    return count, {field.name: each for field, each in zip(FEATURES, deciles, strict=True)}


def _counts(
    connection: psycopg.Connection,
    source: sql.Identifier,
    field: Field,
    edges: Mapping[str, tuple[float, ...]],
) -> dict[int, int]:
    query = sql.SQL(
        "SELECT width_bucket({column}::float8, %(edges)s::float8[]), count(*) FROM {source}"
        " WHERE {column} IS NOT NULL GROUP BY 1"
    ).format(column=sql.Identifier(field.name), source=source)
    return dict(connection.execute(query, {"edges": list(edges[field.name])}).fetchall())
