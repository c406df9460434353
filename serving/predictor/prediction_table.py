"""The predictor's writes to `serving.predictions`: one transaction per batch."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from pydantic_core import to_json

from diabetes_platform.contract.tables import PREDICTIONS
from diabetes_platform.contract.topics import PREDICTED_CHANNEL
from serving.app.postgres import disconnect
from serving.predictor.scoring import PredictionRow, notification_payloads

DEADLINE_SECONDS = 5.0
"""How long one use of the database may take; `connect_timeout` limits the connection.

Both together are shorter than the consumer's `max.poll.interval.ms`.
"""
_COLUMN_WITH_DEFAULT = "stored_at"
_TABLE = sql.Identifier(*PREDICTIONS.name.split("."))

_CONNECT: dict[str, Any] = {
    "application_name": "diabetes-predictor",
    "connect_timeout": 2,
    # Ends on the server what this side has given up.
    "options": (
        f"-c statement_timeout={DEADLINE_SECONDS:.0f}s"
        f" -c idle_in_transaction_session_timeout={DEADLINE_SECONDS:.0f}s"
    ),
}


_NAMES = [name for name in PREDICTIONS.column_names if name != _COLUMN_WITH_DEFAULT]
# A snapshot repeats unchanged images at new positions. So a row is only added if the changes before
# and after it, of this batch or stored, have other images. Sorted by key, so that predictors that
# write the same rows cannot deadlock.
_INSERT = sql.SQL(
    "INSERT INTO {table} ({names}) SELECT {names} FROM ("
    " SELECT *, lag(source_lsn) OVER patient AS previous_lsn,"
    " lag(image_digest) OVER patient AS previous_digest"
    " FROM jsonb_populate_recordset(NULL::{table}, %s)"
    " WINDOW patient AS (PARTITION BY intake_id ORDER BY source_lsn)) AS change"
    " WHERE image_digest IS DISTINCT FROM coalesce("
    " (SELECT coalesce(stored.image_digest, '') FROM {table} stored"
    " WHERE stored.intake_id = change.intake_id AND stored.source_lsn < change.source_lsn"
    " AND stored.source_lsn >= coalesce(change.previous_lsn, 0)"
    " ORDER BY stored.source_lsn DESC LIMIT 1), change.previous_digest)"
    " AND image_digest IS DISTINCT FROM"
    " (SELECT stored.image_digest FROM {table} stored"
    " WHERE stored.intake_id = change.intake_id AND stored.source_lsn > change.source_lsn"
    " ORDER BY stored.source_lsn LIMIT 1)"
    " ORDER BY {key} ON CONFLICT ({key}) DO NOTHING RETURNING intake_id"
).format(
    table=_TABLE,
    names=sql.SQL(", ").join(map(sql.Identifier, _NAMES)),
    key=sql.SQL(", ").join(map(sql.Identifier, PREDICTIONS.key)),
)
_DELETE = sql.SQL("DELETE FROM {} WHERE intake_id = ANY(%s)").format(_TABLE)
_NOTIFY = "SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload"


class PredictionStore:
    """The predictor's connection, opened on demand and reopened after a failure.

    Methods raise psycopg.Error. The batch is then not stored, or stored without a confirmation; in
    both cases it is safe to write it again.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection | None = None

    def write(self, rows: Sequence[PredictionRow], deleted: Sequence[int]) -> int:
        """Delete the predictions of `deleted`, store `rows` and notify; return the new rows.

        An existing row is not changed, and an image that has not changed adds no row and no
        notification, whatever its position is.
        """
        with self._usable_connection() as connection, connection.transaction():
            if deleted:
                connection.execute(_DELETE, (list(deleted),))
            if not rows:
                return 0
            new_rows = connection.execute(_INSERT, (to_json(rows).decode(),)).fetchall()
            if new_rows:
                payloads = list(notification_payloads([intake_id for (intake_id,) in new_rows]))
                connection.execute(_NOTIFY, (PREDICTED_CHANNEL, payloads))
            return len(new_rows)

    def check(self) -> None:
        """Query the table, to detect an unusable database while no messages arrive."""
        with self._usable_connection() as connection:
            connection.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(_TABLE))

    def close(self) -> None:
        """Close the connection, whatever its state."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _usable_connection(self) -> Iterator[psycopg.Connection]:
        """Lend an open connection; close it after an error, and after DEADLINE_SECONDS."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self._url, autocommit=True, **_CONNECT)
            timer = threading.Timer(DEADLINE_SECONDS, disconnect, [self._connection])
            timer.start()
            try:
                yield self._connection
            finally:
                timer.cancel()
                # After a close, its descriptor could be another socket's.
                timer.join()
        except psycopg.Error:
            self.close()
            raise
