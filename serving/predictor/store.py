"""The predictor's writes to `serving.predictions`: one transaction per batch."""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from diabetes_platform.contract.events import PREDICTED_CHANNEL
from diabetes_platform.contract.tables import PREDICTIONS, ColumnType
from serving.predictor.batch import PredictionRows, notification_payloads

_ARRAY_TYPES: dict[ColumnType, sql.SQL] = {
    "bigint": sql.SQL("bigint[]"),
    "number": sql.SQL("float8[]"),
    "text": sql.SQL("text[]"),
    "json": sql.SQL("text[]"),
    "timestamp": sql.SQL("float8[]"),
}
_CONVERSIONS: dict[ColumnType, sql.SQL] = {
    "json": sql.SQL("{}::jsonb"),
    "timestamp": sql.SQL("to_timestamp({} / 1000)"),
}
_COLUMN_WITH_DEFAULT = "stored_at"
_TABLE = sql.Identifier(*PREDICTIONS.name.split("."))

_CONNECT: dict[str, Any] = {
    "application_name": "diabetes-predictor",
    "connect_timeout": 5,
    # A server that neither responds nor closes must not block the partitions forever.
    "tcp_user_timeout": 30_000,
    "options": "-c statement_timeout=60s -c idle_in_transaction_session_timeout=60s",
}


def _insert_statement() -> sql.Composed:
    columns = [column for column in PREDICTIONS.columns if column.name != _COLUMN_WITH_DEFAULT]
    comma = sql.SQL(", ")
    names = [sql.Identifier(column.name) for column in columns]
    values = [
        _CONVERSIONS.get(column.type, sql.SQL("{}")).format(name)
        for column, name in zip(columns, names, strict=True)
    ]
    arrays = [
        sql.SQL("{}::{}").format(sql.Placeholder(column.name), _ARRAY_TYPES[column.type])
        for column in columns
    ]
    # Sorted by key, so that predictors that write the same rows cannot deadlock.
    return sql.SQL(
        "INSERT INTO {table} ({names}) SELECT {values} FROM unnest({arrays}) AS rows ({names})"
        " ORDER BY {key} ON CONFLICT ({key}) DO NOTHING"
    ).format(
        table=_TABLE,
        names=comma.join(names),
        values=comma.join(values),
        arrays=comma.join(arrays),
        key=comma.join(map(sql.Identifier, PREDICTIONS.key)),
    )


_INSERT = _insert_statement()
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

    def write(self, rows: PredictionRows, deleted: Sequence[int]) -> int:
        """Delete the predictions of `deleted`, store `rows` and notify; return the new rows.

        An existing row is not changed.
        """
        connection = self._open()
        try:
            with connection.transaction():
                if deleted:
                    connection.execute(_DELETE, (list(deleted),))
                if not rows:
                    return 0
                new_rows = connection.execute(_INSERT, rows.columns).rowcount
                payloads = list(notification_payloads(rows.patient_ids))
                connection.execute(_NOTIFY, (PREDICTED_CHANNEL, payloads))
                return new_rows
        except psycopg.Error:
            self.close()
            raise

    def check(self) -> None:
        """Query the table, to detect an unusable database while no messages arrive."""
        try:
            self._open().execute(sql.SQL("SELECT FROM {} LIMIT 1").format(_TABLE))
        except psycopg.Error:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, whatever its state."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._url, autocommit=True, **_CONNECT)
        return self._connection
