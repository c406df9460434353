"""The API's SQL statements on patients and their predictions.

The caller borrows the connection, once per request, so that a request has one deadline.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import sql
from psycopg.errors import UniqueViolation
from psycopg.rows import DictRow

from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.contract.tables import DIABETES_NEW, PREDICTIONS, Table
from serving.app.database import Connection
from serving.app.problems import ProblemError
from serving.app.validation import field_error

BATCH = 100
"""The maximum number of predictions that an event stream reads per query."""


@dataclass(frozen=True, slots=True)
class EventCursor:
    """The last prediction that a stream has sent: the LSN of its change, and its model."""

    source_lsn: int
    model_version: str

    def __str__(self) -> str:
        return f"{self.source_lsn}-{self.model_version}"


START = EventCursor(-1, "")
"""The position before the first prediction."""


# A deleted patient's id may be used again, and its predictions are deleted later than its row: no
# reader gets a prediction that is older than its row. Commit times have milliseconds only.
_OF_THIS_ROW = (
    "{predictions}.intake_id = d.id"
    " AND {predictions}.changed_at >= date_trunc('milliseconds', d.received_at)"
)


def _columns(names: tuple[str, ...], table: str) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(table, name) for name in names)


def _statement(text: LiteralString, **parts: sql.Composable) -> sql.Composed:
    tables = {"intake": _table(DIABETES_NEW), "predictions": _table(PREDICTIONS)}
    of_this_row = sql.SQL(_OF_THIS_ROW).format(**tables)
    return sql.SQL(text).format(**tables, of_this_row=of_this_row, **parts)


def _table(table: Table) -> sql.Identifier:
    return sql.Identifier(*table.name.split("."))


_MEASUREMENTS = {
    "names": sql.SQL(", ").join(map(sql.Identifier, FEATURE_NAMES)),
    "values": sql.SQL(", ").join(map(sql.Placeholder, FEATURE_NAMES)),
}
_INSERT = _statement(
    "INSERT INTO {intake} ({names}) VALUES ({values}) RETURNING id, received_at", **_MEASUREMENTS
)
# One statement, one transaction: the patient and its key are stored together or not at all.
_INSERT_WITH_KEY = _statement(
    "WITH patient AS"
    " (INSERT INTO {intake} ({names}) VALUES ({values}) RETURNING id, received_at),"
    " request AS (INSERT INTO serving.intake_requests (idempotency_key, intake_id)"
    " SELECT %(idempotency_key)s, id FROM patient)"
    " SELECT id, received_at FROM patient",
    **_MEASUREMENTS,
)
_SELECT_BY_KEY = _statement(
    "SELECT d.* FROM serving.intake_requests r JOIN {intake} d ON d.id = r.intake_id"
    " WHERE r.idempotency_key = %(idempotency_key)s"
)
_ALL_COLUMNS = {
    "patient": _columns(DIABETES_NEW.column_names, "d"),
    "prediction": _columns(PREDICTIONS.column_names, "p"),
}
_SELECT = _statement(
    "SELECT {patient}, {prediction} FROM {intake} d LEFT JOIN LATERAL ("
    " SELECT * FROM {predictions} WHERE {of_this_row}"
    " ORDER BY source_lsn DESC, stored_at DESC LIMIT 1) p ON true WHERE d.id = %(id)s",
    **_ALL_COLUMNS,
)
_LIST = _statement(
    "SELECT d.id, d.received_at, d.outcome IS NOT NULL AS outcome_recorded,"
    " EXISTS (SELECT FROM {predictions} WHERE {of_this_row}) AS answered"
    " FROM {intake} d WHERE d.id < %(before)s"
    " AND NOT EXISTS (SELECT FROM serving.canaries c WHERE c.intake_id = d.id)"
    " ORDER BY d.id DESC LIMIT %(limit)s"
)
# An unchanged outcome updates no row, so no change event goes through the stream.
_RECORD_OUTCOME = _statement(
    "UPDATE {intake} SET outcome = %(outcome)s, outcome_recorded_at = now()"
    " WHERE id = %(id)s AND outcome IS DISTINCT FROM %(outcome)s"
)
# Each model predicts a change once, and a newer model may predict a change of an older one. A
# patient without new predictions is one row without a prediction.
_PREDICTIONS_AFTER = _statement(
    "SELECT {patient}, {prediction} FROM {intake} d LEFT JOIN LATERAL ("
    " SELECT * FROM {predictions} WHERE {of_this_row}) p"
    " ON (p.source_lsn > %(lsn)s"
    " OR p.source_lsn = %(lsn)s AND p.model_version <> %(model)s AND p.stored_at > coalesce("
    " (SELECT stored_at FROM {predictions} WHERE intake_id = %(id)s AND source_lsn = %(lsn)s"
    " AND model_version = %(model)s), '-infinity'))"
    " WHERE d.id = %(id)s"
    " ORDER BY p.source_lsn, p.stored_at, p.model_version LIMIT %(limit)s",
    **_ALL_COLUMNS,
)


async def insert_patient(
    connection: Connection, measurements: Mapping[str, Any], key: str | None = None
) -> DictRow:
    """Store a patient; return at least `id` and `received_at` of the committed row.

    With a `key` that was used for the same measurements, return the existing row. Raises
    ProblemError if it was used for others.
    """
    if key is None:
        return await _fetch_row(connection, _INSERT, measurements)
    values = {**measurements, "idempotency_key": key}
    try:
        return await _fetch_row(connection, _INSERT_WITH_KEY, values)
    except UniqueViolation:
        row = await _fetch_row(connection, _SELECT_BY_KEY, values)
    if any(row[name] != measurements[name] for name in FEATURE_NAMES):
        error = field_error("idempotency-key", "already_used", key, "a new key for each patient")
        raise ProblemError(422, "This key was already used with other measurements.", [error])
    return row


async def _fetch_row(
    connection: Connection, statement: sql.Composed, values: Mapping[str, Any]
) -> DictRow:
    row = await (await connection.execute(statement, values)).fetchone()
    # Only the database's owner deletes patients, so the row exists.
    assert row is not None  # noqa: S101
    return row


async def get_patient(connection: Connection, patient_id: int) -> DictRow | None:
    """Return a patient's row with the columns of its newest prediction, NULL without one."""
    return await (await connection.execute(_SELECT, {"id": patient_id})).fetchone()


async def list_patients(connection: Connection, *, before: int, limit: int) -> list[DictRow]:
    """Return up to `limit` patients with ids below `before`, newest first."""
    cursor = await connection.execute(_LIST, {"before": before, "limit": limit})
    return await cursor.fetchall()


async def record_outcome(connection: Connection, patient_id: int, outcome: int) -> DictRow | None:
    """Record or correct a confirmed outcome; return the row as `get_patient` does."""
    await connection.execute(_RECORD_OUTCOME, {"id": patient_id, "outcome": outcome})
    return await get_patient(connection, patient_id)


async def predictions_after(
    connection: Connection, patient_id: int, cursor: EventCursor
) -> list[DictRow] | None:
    """Return the predictions of one patient after `cursor`, in order, at most BATCH.

    Returns None if the patient does not exist.
    """
    values = {
        "id": patient_id,
        "lsn": cursor.source_lsn,
        "model": cursor.model_version,
        "limit": BATCH,
    }
    rows = await (await connection.execute(_PREDICTIONS_AFTER, values)).fetchall()
    return [row for row in rows if row["source_lsn"] is not None] if rows else None
