"""Loading one cleaned batch into `staging.patients`: a stream of Arrow batches, binary COPY."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import psycopg
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    import pyarrow as pa

_APPEND = (
    "INSERT INTO staging.batches (batch_id, delta_version, rows, source_version)"
    " VALUES ($1, $2, $3, $4)"
    " RETURNING version, staged_at"
)
_OTHER_BATCHES = "SELECT count(*) FROM staging.patients WHERE batch_id IS DISTINCT FROM $1"


class StagingError(RuntimeError):
    """A batch that could not be loaded."""


@dataclass(frozen=True, slots=True)
class StagedBatch:
    """One load of `staging.patients`; `version` grows with every load.

    `source_version` identifies the source without its labels, and the rules that cleaned it.
    """

    version: int
    batch_id: str
    delta_version: int
    rows: int
    staged_at: datetime
    source_version: str | None = None


def stage(
    url: str,
    batches: "pa.RecordBatchReader",
    *,
    batch_id: str,
    delta_version: int,
    expected_rows: int,
    source_version: str | None = None,
) -> StagedBatch:
    """Replace `staging.patients` by `batches` (contract STAGING_PATIENTS, any column order).

    One transaction: if it fails, the previous batch stays. It fails with StagingError, also if the
    number of rows is not `expected_rows` or a row belongs to another batch. Memory holds one Arrow
    batch.
    """
    # Imported here because ADBC imports polars and pandas, which takes the code location a second.
    import adbc_driver_postgresql.dbapi as adbc

    not_staged = f"batch {batch_id}: not staged"
    try:
        with adbc.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("TRUNCATE staging.patients")
            rows = cursor.adbc_ingest("patients", batches, mode="append", db_schema_name="staging")
            cursor.execute(_OTHER_BATCHES, (batch_id,))
            (foreign,) = cursor.fetchone()
            if rows != expected_rows:
                raise StagingError(f"{not_staged}: {rows} rows arrived; allowed: {expected_rows}")
            if foreign:
                raise StagingError(f"{not_staged}: {foreign} rows are of another batch")
            cursor.execute(_APPEND, (batch_id, delta_version, rows, source_version))
            version, staged_at = cursor.fetchone()
            cursor.execute("ANALYZE staging.patients")
            connection.commit()
    except adbc.Error as error:
        raise StagingError(f"{not_staged}: {str(error).strip().splitlines()[0]}") from error
    return StagedBatch(version, batch_id, delta_version, rows, staged_at, source_version)


def newest(url: str) -> StagedBatch | None:
    """Return the batch in `staging.patients`; None before the first."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT version, batch_id, delta_version, rows, staged_at, source_version"
            " FROM staging.batches ORDER BY version DESC LIMIT 1"
        ).fetchone()
    return None if row is None else StagedBatch(*row)


def count_staged(url: str, batch_id: str) -> int:
    """Count the rows of a batch in `staging.patients` itself."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM staging.patients WHERE batch_id = %s", (batch_id,)
        ).fetchone()
    return 0 if row is None else int(row[0])


def record_validation(
    url: str,
    batch: StagedBatch,
    *,
    run_name: str,
    failed: tuple[str, ...],
    accepted: Mapping[str, str] | None = None,
) -> None:
    """Record the verdict on a staged batch: it passed if no blocking expectation `failed`.

    `accepted` maps failures that an operator accepted to the person, the date and the reason. The
    audit of the promotion repeats them, and `read_acceptances` returns them for the same source.
    """
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO staging.validations (run_name, version, passed, failed, accepted)"
            " VALUES (%s, %s, %s, %s, %s)",
            (run_name, batch.version, not failed, list(failed), Jsonb(dict(accepted or {}))),
        )


def read_acceptances(url: str, source_version: str | None) -> dict[str, str]:
    """Return the failures that were accepted for this source, each with its newest acceptance.

    Empty for a source whose version is not known.
    """
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT accepted FROM staging.validations JOIN staging.batches USING (version)"
            " WHERE source_version = %s ORDER BY validated_at",
            (source_version,),
        ).fetchall()
    return {name: text for (accepted,) in rows for name, text in accepted.items()}
