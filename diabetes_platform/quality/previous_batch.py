"""Statistics to compare a batch with: of the promoted version, or the contract's for the first."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import psycopg
from psycopg import sql

import diabetes_platform.contract
from diabetes_platform.contract.fields import FEATURES, OUTCOME, Field
from diabetes_platform.contract.tables import SERVING_PATIENTS, SOURCE, STREAM_PATIENTS
from diabetes_platform.quality.expectations import Partition, PreviousBatch

DECILES = tuple(tenth / 10 for tenth in range(1, 10))
REFERENCE = Path(diabetes_platform.contract.__file__).with_name("reference_statistics.json")
EMPTY_BIN = 0.5
"""Added to every count, because a value in an empty bin is rare but not impossible."""
_OF_THE_SOURCE = sql.SQL("{} <> {}").format(sql.Identifier(SOURCE.name), STREAM_PATIENTS.name)


def read_previous(url: str, table: str = SERVING_PATIENTS.name) -> PreviousBatch | None:
    """Read the promoted version from `table` (schema.name); None if the table is absent or empty.

    `url` is a libpq URL (`postgresql://…`). Raises psycopg.Error.
    """
    schema, _, name = table.partition(".")
    source = sql.Identifier(schema, name)
    with psycopg.connect(url) as connection:
        # One snapshot, so that edges and counts are of the same version.
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        exists = connection.execute("SELECT to_regclass(%s)", (table,)).fetchone()
        if exists is None or exists[0] is None:
            return None
        rows, outcome_share, deciles = _deciles(connection, source)
        if not rows:
            return None
        values = _count_values(connection, source, [OUTCOME.name])
        edges = {field.name: bin_edges(field, deciles[field.name]) for field in FEATURES}
        counts = {name: _counts(connection, source, name, bins) for name, bins in edges.items()}
    partitions = ((name, partition(edges[name], counts[name])) for name in edges)
    measured = {name: bins for name, bins in partitions if bins is not None}
    return PreviousBatch(rows, measured, outcome_share, values[OUTCOME.name])


def count_values(url: str, table: str) -> dict[str, int]:
    """Count the values of each field in `table` (schema.name) by the field's name.

    Outcomes are counted in the rows of the source, as their share is. Fields that the table lacks
    are absent. Raises psycopg.Error.
    """
    with psycopg.connect(url) as connection:
        present = connection.execute(
            "SELECT attname FROM pg_attribute"
            " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
            (table,),
        ).fetchall()
        columns = {name for (name,) in present}
        names = [field.name for field in FEATURES if field.name in columns]
        if {OUTCOME.name, SOURCE.name} <= columns:
            names.append(OUTCOME.name)
        return _count_values(connection, sql.Identifier(*table.split(".")), names)


def with_reference(previous: PreviousBatch | None, reference: PreviousBatch) -> PreviousBatch:
    """Return the promoted version, with the reference's statistics where it has none."""
    if previous is None:
        return reference
    partitions = {**reference.partitions, **previous.partitions}
    if previous.outcome_share is not None:
        return replace(previous, partitions=partitions)
    return replace(
        previous,
        partitions=partitions,
        outcome_share=reference.outcome_share,
        outcome_count=reference.outcome_count,
    )


def read_reference(path: Path = REFERENCE) -> PreviousBatch:
    """Read the reference statistics; raises OSError, and ValueError for another content."""
    content = json.loads(path.read_text(encoding="utf-8"))
    try:
        partitions = {
            name: Partition(
                tuple(histogram["bins"]), tuple(histogram["weights"]), histogram["count"]
            )
            for name, histogram in content["fields"].items()
        }
        return PreviousBatch(
            content["rows"],
            partitions,
            content["outcome_share"],
            content["outcome_count"],
            is_reference=True,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: no reference statistics; see write_reference") from error


def write_reference(statistics: PreviousBatch, path: Path = REFERENCE) -> None:
    """Write statistics, for example of a promoted version, as the reference."""
    fields = {
        name: {"count": histogram.count, "bins": histogram.bins, "weights": histogram.weights}
        for name, histogram in statistics.partitions.items()
    }
    content = {
        "rows": statistics.row_count,
        "outcome_share": statistics.outcome_share,
        "outcome_count": statistics.outcome_count,
        "fields": fields,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def bin_edges(field: Field, deciles: Iterable[float] | None) -> tuple[float, ...]:
    """Return increasing edges from the field's minimum through its deciles to its maximum."""
    inner = {float(edge) for edge in deciles or () if field.minimum < edge < field.maximum}
    return (float(field.minimum), *sorted(inner), float(field.maximum))


def partition(edges: tuple[float, ...], counts: Mapping[int, int]) -> Partition | None:
    """Return the histogram of `counts` by bin number (from 1); None without values.

    `width_bucket` counts values equal to the last edge in one more bin, which is added to the last.
    """
    bins = len(edges) - 1
    in_bin = [counts.get(number, 0) for number in range(1, bins + 1)]
    in_bin[-1] += counts.get(bins + 1, 0)
    if not any(in_bin):
        return None
    values = sum(in_bin)
    total = values + EMPTY_BIN * bins
    return Partition(edges, tuple((count + EMPTY_BIN) / total for count in in_bin), values)


def _deciles(
    connection: psycopg.Connection, source: sql.Identifier
) -> tuple[int, float | None, dict[str, list[float] | None]]:
    columns = [
        sql.SQL("percentile_disc(%(deciles)s::float8[]) WITHIN GROUP (ORDER BY {})").format(
            sql.Identifier(field.name)
        )
        for field in FEATURES
    ]
    query = sql.SQL(
        "SELECT count(*), (avg({outcome}) FILTER (WHERE {of_the_source}))::float8, {columns}"
        " FROM {source}"
    ).format(
        outcome=sql.Identifier(OUTCOME.name),
        of_the_source=_OF_THE_SOURCE,
        columns=sql.SQL(", ").join(columns),
        source=source,
    )
    row = connection.execute(query, {"deciles": list(DECILES)}).fetchone()
    if row is None:
        raise psycopg.DataError("an aggregate without a row")
    count, outcome_share, *deciles = row
    return (
        count,
        outcome_share,
        {field.name: edges for field, edges in zip(FEATURES, deciles, strict=True)},
    )


def _counts(
    connection: psycopg.Connection, source: sql.Identifier, name: str, edges: Sequence[float]
) -> dict[int, int]:
    query = sql.SQL(
        "SELECT width_bucket({column}::float8, %(edges)s::float8[]), count(*) FROM {source}"
        " WHERE {column} IS NOT NULL GROUP BY 1"
    ).format(column=sql.Identifier(name), source=source)
    return dict(connection.execute(query, {"edges": list(edges)}).fetchall())


def _count_values(
    connection: psycopg.Connection, source: sql.Identifier, names: Sequence[str]
) -> dict[str, int]:
    if not names:
        return {}
    counts = [
        sql.SQL("count({}) FILTER (WHERE {})").format(
            sql.Identifier(name), _OF_THE_SOURCE if name == OUTCOME.name else sql.SQL("true")
        )
        for name in names
    ]
    query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(counts), source)
    row = connection.execute(query).fetchone()
    if row is None:
        raise psycopg.DataError("an aggregate without a row")
    return dict(zip(names, row, strict=True))
