"""Digests of the tables of a run, to compare the results of two engines.

A digest is the sum of the rows' hashes: it depends on every value and on no order.
"""

from pathlib import Path
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from diabetes_platform.contract.tables import (
    QUARANTINE_PATIENTS,
    RAW_PATIENTS,
    SERVING_PATIENTS,
    STAGING_PATIENTS,
    STATISTICS_PATIENTS,
    Column,
    Table,
)

Results = dict[str, Any]
_HASHES = {
    "text": "hashtextextended",
    "integer": "hashint4extended",
    "number": "hashfloat8extended",
}


class DifferentResultsError(RuntimeError):
    """Two ways that were meant to do the same job and did not: their times say nothing."""


def results_of(url: str, lake: Path) -> Results:
    """Return row counts and digests by table, of the warehouse by column too."""
    return {
        **{
            table.name: _warehouse_digests(url, table)
            for table in (STAGING_PATIENTS, SERVING_PATIENTS)
        },
        **{
            table.name: _lake_digest(lake, table)
            for table in (RAW_PATIENTS, STATISTICS_PATIENTS, QUARANTINE_PATIENTS)
        },
    }


def require_equal(name: str, results: Results, expected: Results) -> None:
    """Raise DifferentResultsError that names the tables and columns in which the two differ."""
    differing = [
        f"{table}.{column}"
        for table in expected
        for column, value in expected[table].items()
        if results[table][column] != value
    ]
    if differing:
        raise DifferentResultsError(f"{name} differs in {', '.join(differing)}")


def accepted_rows(results: Results) -> int:
    """Return how many rows were promoted."""
    return int(results[SERVING_PATIENTS.name]["rows"])


def rejected_rows(results: Results) -> int:
    """Return how many rows are in quarantine."""
    return int(results[QUARANTINE_PATIENTS.name]["rows"])


def _warehouse_digests(url: str, table: Table) -> dict[str, int]:
    schema, name = table.name.split(".")
    columns = sql.SQL(", ").join(map(_column_digest, table.columns))
    query = sql.SQL("SELECT count(*), sum(hash_record_extended(p, 0)::numeric), {} FROM {} p")
    with psycopg.connect(url) as connection:
        row = connection.execute(query.format(columns, sql.Identifier(schema, name))).fetchone()
    digests = map(int, (value or 0 for value in row or ()))
    return dict(zip(("rows", "all_columns", *table.column_names), digests, strict=True))


def _column_digest(column: Column) -> sql.Composed:
    digest = sql.SQL("sum({}({}, 0)::numeric)")
    return digest.format(sql.Identifier(_HASHES[column.type]), sql.Identifier(column.name))


def _lake_digest(lake: Path, table: Table) -> dict[str, int]:
    columns = [name for name in table.column_names if name != "received_at"]
    rows = pl.scan_delta(str(lake / table.name)).select(columns)
    digest = pl.struct(columns).hash(seed=0).sum()
    digests = rows.select(rows=pl.len(), all_columns=digest).collect(engine="streaming")
    return {name: int(digests[name][0]) for name in ("rows", "all_columns")}
