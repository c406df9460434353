"""The patients that were taken in, as PostgreSQL keeps them: every statement of the API.

Each function borrows a connection and raises DatabaseUnavailableError where there is none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import sql
from psycopg.errors import UniqueViolation
from psycopg.rows import DictRow

from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.contract.tables import DIABETES_NEW, PREDICTIONS, Table
from serving.app.database import Connection, Database

BATCH = 100
"""The most predictions that one look of a stream reads."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last prediction that a stream has sent: place of its change in the log, and model."""

    source_lsn: int
    model_version: str

    def __str__(self) -> str:
        return f"{self.source_lsn}-{self.model_version}"


class KeyUsedError(Exception):
    """An idempotency key belongs to a patient with other measurements."""


START = Cursor(-1, "")
"""Before the first prediction."""


def _names(names: tuple[str, ...], table: str) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(table, name) for name in names)


def _statement(text: LiteralString, **parts: sql.Composable) -> sql.Composed:
    return sql.SQL(text).format(
        intake=_table(DIABETES_NEW), predictions=_table(PREDICTIONS), **parts
    )


def _table(table: Table) -> sql.Identifier:
    return sql.Identifier(*table.name.split("."))


_MEASUREMENTS = {
    "names": sql.SQL(", ").join(map(sql.Identifier, FEATURE_NAMES)),
    "values": sql.SQL(", ").join(map(sql.Placeholder, FEATURE_NAMES)),
}
_TAKE_IN = _statement(
    "INSERT INTO {intake} ({names}) VALUES ({values}) RETURNING id, received_at", **_MEASUREMENTS
)
# One statement, one transaction: neither a patient without its key nor a key without its patient.
_TAKE_IN_ONCE = _statement(
    "WITH patient AS"
    " (INSERT INTO {intake} ({names}) VALUES ({values}) RETURNING id, received_at),"
    " request AS (INSERT INTO serving.intake_requests (idempotency_key, intake_id)"
    " SELECT %(idempotency_key)s, id FROM patient)"
    " SELECT id, received_at FROM patient",
    **_MEASUREMENTS,
)
_TAKEN_IN = _statement(
    "SELECT d.* FROM serving.intake_requests r JOIN {intake} d ON d.id = r.intake_id"
    " WHERE r.idempotency_key = %(idempotency_key)s"
)
_ALL = {
    "patient": _names(DIABETES_NEW.column_names, "d"),
    "prediction": _names(PREDICTIONS.column_names, "p"),
}
_READ = _statement(
    "SELECT {patient}, {prediction} FROM {intake} d LEFT JOIN LATERAL ("
    " SELECT * FROM {predictions} WHERE intake_id = d.id"
    " ORDER BY source_lsn DESC, stored_at DESC LIMIT 1) p ON true WHERE d.id = %(id)s",
    **_ALL,
)
_RECENT = _statement(
    "SELECT d.id, d.received_at, d.outcome IS NOT NULL AS outcome_recorded,"
    " EXISTS (SELECT FROM {predictions} WHERE intake_id = d.id) AS answered"
    " FROM {intake} d WHERE d.id < %(before)s ORDER BY d.id DESC LIMIT %(limit)s"
)
_EXISTS = _statement("SELECT FROM {intake} WHERE id = %(id)s")
# The same outcome again changes nothing, so that no change travels through the stream.
_RECORD = _statement(
    "UPDATE {intake} SET outcome = %(outcome)s, outcome_recorded_at = now()"
    " WHERE id = %(id)s AND outcome IS DISTINCT FROM %(outcome)s"
)
# Of one change each model answers once; a later model's answer is news, a repeated one is not.
# A patient of whom there is no news is a row without prediction.
_AFTER = _statement(
    "SELECT {patient}, {prediction} FROM {intake} d LEFT JOIN {predictions} p"
    " ON p.intake_id = d.id AND (p.source_lsn > %(lsn)s"
    " OR p.source_lsn = %(lsn)s AND p.model_version <> %(model)s AND p.stored_at > coalesce("
    " (SELECT stored_at FROM {predictions} WHERE intake_id = %(id)s AND source_lsn = %(lsn)s"
    " AND model_version = %(model)s), '-infinity'))"
    " WHERE d.id = %(id)s"
    " ORDER BY p.source_lsn, p.stored_at, p.model_version LIMIT %(limit)s",
    **_ALL,
)


async def take_in(
    database: Database, measurements: Mapping[str, Any], key: str | None = None
) -> DictRow:
    """Keep a patient; returns at least `id` and `received_at` of the committed row.

    The same `key` and measurements again give the row that is there. KeyUsedError for others.
    """
    async with database.connection() as connection:
        if key is None:
            return await _one(connection, _TAKE_IN, measurements)
        values = {**measurements, "idempotency_key": key}
        try:
            return await _one(connection, _TAKE_IN_ONCE, values)
        except UniqueViolation:
            row = await _one(connection, _TAKEN_IN, values)
    if any(row[name] != measurements[name] for name in FEATURE_NAMES):
        raise KeyUsedError(key)
    return row


async def _one(
    connection: Connection, statement: sql.Composed, values: Mapping[str, Any]
) -> DictRow:
    row = await (await connection.execute(statement, values)).fetchone()
    # Only whoever owns the database deletes patients: here and now one is there.
    assert row is not None  # noqa: S101
    return row


async def read(database: Database, patient_id: int) -> DictRow | None:
    """Return a patient's row with its newest prediction's columns, NULL where there is none."""
    async with database.connection() as connection:
        return await (await connection.execute(_READ, {"id": patient_id})).fetchone()


async def recent(database: Database, *, before: int, limit: int) -> list[DictRow]:
    """Return up to `limit` patients with smaller ids than `before`, the newest first."""
    async with database.connection() as connection:
        cursor = await connection.execute(_RECENT, {"before": before, "limit": limit})
        return await cursor.fetchall()


async def record_outcome(database: Database, patient_id: int, outcome: int) -> bool:
    """Record a confirmed outcome, or correct it; returns whether there is such a patient."""
    async with database.connection() as connection:
        values = {"id": patient_id, "outcome": outcome}
        if (await connection.execute(_RECORD, values)).rowcount == 1:
            return True
        return (await connection.execute(_EXISTS, {"id": patient_id})).rowcount == 1


async def predictions_after(
    database: Database, patient_id: int, last: Cursor
) -> list[DictRow] | None:
    """Return the predictions of one patient that came after `last`, in order, at most BATCH.

    None where there is no such patient.
    """
    values = {
        "id": patient_id,
        "lsn": last.source_lsn,
        "model": last.model_version,
        "limit": BATCH,
    }
    async with database.connection() as connection:
        rows = await (await connection.execute(_AFTER, values)).fetchall()
    return [row for row in rows if row["source_lsn"] is not None] if rows else None
