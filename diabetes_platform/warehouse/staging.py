"""Loading one cleaned batch into `staging.patients`: a stream of Arrow batches, binary COPY."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    import pyarrow as pa

_APPEND = (
    "INSERT INTO staging.batches (batch_id, delta_version, rows) VALUES ($1, $2, $3)"
    " RETURNING version"
)


class StagingError(RuntimeError):
    """A batch that could not be loaded or is not in staging any more."""


@dataclass(frozen=True, slots=True)
class StagedBatch:
    """One load of `staging.patients`; `version` grows with every load."""

    version: int
    batch_id: str
    delta_version: int
    rows: int


def stage(
    url: str, batches: "pa.RecordBatchReader", *, batch_id: str, delta_version: int
) -> StagedBatch:
    """Replace `staging.patients` by `batches` (contract STAGING_PATIENTS, any column order).

    One transaction: where it fails, the batch before is still there. Memory holds the Arrow batch
    on its way and no more. Raises StagingError.
    """
    # ADBC brings polars and pandas along: a second that the code location need not spend.
    import adbc_driver_postgresql.dbapi as adbc

    try:
        with adbc.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("TRUNCATE staging.patients")
            rows = cursor.adbc_ingest("patients", batches, mode="append", db_schema_name="staging")
            cursor.execute(_APPEND, (batch_id, delta_version, rows))
            (version,) = cursor.fetchone()
            cursor.execute("ANALYZE staging.patients")
            connection.commit()
    except adbc.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise StagingError(f"batch {batch_id}: not staged: {reason}") from error
    return StagedBatch(version, batch_id, delta_version, rows)


def newest(url: str) -> StagedBatch | None:
    """Return the batch that is in `staging.patients`, or None before the first."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT version, batch_id, delta_version, rows FROM staging.batches"
            " ORDER BY version DESC LIMIT 1"
        ).fetchone()
    return None if row is None else StagedBatch(*row)


def require_newest(url: str, batch: StagedBatch) -> None:
    """Raise StagingError where another load has replaced `batch` in `staging.patients`."""
    found = newest(url)
    if found != batch:
        given = "nothing" if found is None else f"batch {found.batch_id} (load {found.version})"
        raise StagingError(
            f"staging.patients: given {given}, allowed batch {batch.batch_id} "
            f"(load {batch.version}): stage it again"
        )


def record_validation(
    url: str, batch: StagedBatch, *, run_name: str, failed: tuple[str, ...]
) -> None:
    """Keep the verdict on a staged batch: it passed where no blocking expectation `failed`."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO staging.validations (run_name, version, passed, failed)"
            " VALUES (%s, %s, %s, %s)",
            (run_name, batch.version, not failed, list(failed)),
        )
