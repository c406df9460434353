"""The reference: the same job as one script with polars, deltalake and COPY.

No engine to start, no table between the steps, no session, no log of what was done: the batch is
parsed once, kept in memory as numbers, and judged there. Its results must equal the platform's.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import adbc_driver_postgresql.dbapi as adbc
import polars as pl
import psycopg
import pyarrow as pa
from deltalake import write_deltalake
from psycopg import sql

from benchmarks.batch.script_rules import judged, parsed, quarantined, staged
from benchmarks.batch.script_statistics import quartiles
from benchmarks.batch.steps import Steps
from diabetes_platform.contract.fields import FIELD_NAMES
from diabetes_platform.contract.tables import QUARANTINE_PATIENTS, RAW_PATIENTS, STAGING_PATIENTS

COPY_ROWS = 65_536


def run(source: Path, lake: Path, url: str) -> Steps:
    """Bring `source` to `serving.patients`."""
    steps = Steps()
    with steps.timed("raw"):
        with source.open("rb") as file:
            content_hash = hashlib.file_digest(file, "sha256").hexdigest()
        write_raw(source, lake / RAW_PATIENTS.name, content_hash)
    batch_id = content_hash[:12]
    raw = pl.scan_delta(str(lake / RAW_PATIENTS.name)).filter(content_hash=content_hash)
    with steps.timed("statistics"):
        numbers = parsed(raw).collect(engine="streaming")
        statistics = quartiles(numbers, batch_id)
        write_deltalake(lake / "statistics/patients", statistics, mode="overwrite")
    with steps.timed("clean"):
        rows = judged(numbers, statistics)
    with steps.timed("quarantine"):
        rejected = quarantined(rows, raw, batch_id)
        write_deltalake(
            lake / QUARANTINE_PATIENTS.name, rejected, mode="overwrite", partition_by="batch_id"
        )
    with steps.timed("stage"):
        version = copy(url, staged(rows, statistics, str(source), batch_id), batch_id)
    with steps.timed("promote"):
        promote(url, version, batch_id)
    return steps


def write_raw(source: Path, target: Path, content_hash: str) -> None:
    """Append the source as text to the raw table, as a stream."""
    rows = pl.scan_csv(
        source,
        infer_schema=False,
        empty_string_is_null=False,
        row_index_name="source_line",
        row_index_offset=2,
    ).select(
        pl.col("source_line").cast(pl.Int64),
        *FIELD_NAMES,
        content_hash=pl.lit(content_hash),
        source=pl.lit(str(source)),
        received_at=pl.lit(datetime.now(UTC)),
    )
    write_deltalake(
        target, rows.collect_batches(lazy=True), mode="append", partition_by="content_hash"
    )


def copy(url: str, rows: pl.LazyFrame, batch_id: str) -> int:
    """Replace the staging table by `rows` with binary COPY; return the load's number."""
    reader = pa.RecordBatchReader.from_batches(_arrow_schema(rows), _arrow_batches(rows))
    with adbc.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("TRUNCATE staging.patients")
        count = cursor.adbc_ingest("patients", reader, mode="append", db_schema_name="staging")
        cursor.execute(
            "INSERT INTO staging.batches (batch_id, delta_version, rows) VALUES ($1, 0, $2)"
            " RETURNING version",
            (batch_id, count),
        )
        version: int = cursor.fetchone()[0]
        cursor.execute("ANALYZE staging.patients")
        connection.commit()
    return version


def _arrow_schema(rows: pl.LazyFrame) -> pa.Schema:
    empty = rows.collect_schema().to_frame()
    return empty.to_arrow(compat_level=pl.CompatLevel.oldest()).schema


def _arrow_batches(rows: pl.LazyFrame) -> Iterator[pa.RecordBatch]:
    for batch in rows.collect_batches(chunk_size=COPY_ROWS, engine="streaming"):
        yield from batch.to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches()


def promote(url: str, version: int, batch_id: str) -> None:
    """Copy staging to serving and point at it, in one transaction."""
    columns = sql.SQL(", ").join(map(sql.Identifier, STAGING_PATIENTS.column_names))
    insert = sql.SQL(
        "INSERT INTO serving.patient_versions (version, {columns})"
        " SELECT {version}, {columns} FROM staging.patients"
    ).format(columns=columns, version=version)
    with psycopg.connect(url) as connection:
        count = connection.execute(insert).rowcount
        connection.execute("DELETE FROM serving.current_version")
        connection.execute("INSERT INTO serving.current_version (version) VALUES (%s)", (version,))
        connection.execute(
            "INSERT INTO serving.promotions (action, version, batch_id, delta_version, rows,"
            " verdict) VALUES ('promote', %s, %s, 0, %s, 'script')",
            (version, batch_id, count),
        )
