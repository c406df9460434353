"""`serving.predictions` as the predictor writes it: one transaction a batch."""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from diabetes_platform.contract.events import PREDICTED_CHANNEL
from diabetes_platform.contract.tables import PREDICTIONS, ColumnType
from serving.predictor.batch import Scored, notifications

_ARRAYS: dict[ColumnType, sql.SQL] = {
    "bigint": sql.SQL("bigint[]"),
    "number": sql.SQL("float8[]"),
    "text": sql.SQL("text[]"),
    "json": sql.SQL("text[]"),
    "timestamp": sql.SQL("float8[]"),
}
_VALUES: dict[ColumnType, sql.SQL] = {
    "json": sql.SQL("{}::jsonb"),
    "timestamp": sql.SQL("to_timestamp({} / 1000)"),
}
_STORED_BY_ITSELF = "stored_at"
_TABLE = sql.Identifier(*PREDICTIONS.name.split("."))

_CONNECT: dict[str, Any] = {
    "application_name": "diabetes-predictor",
    "connect_timeout": 5,
    # A server that neither answers nor closes must not hold the partitions for ever.
    "tcp_user_timeout": 30_000,
    "options": "-c statement_timeout=60s -c idle_in_transaction_session_timeout=60s",
}


def _insert() -> sql.Composed:
    columns = [one for one in PREDICTIONS.columns if one.name != _STORED_BY_ITSELF]
    comma = sql.SQL(", ")
    names = [sql.Identifier(one.name) for one in columns]
    values = [
        _VALUES.get(one.type, sql.SQL("{}")).format(name)
        for one, name in zip(columns, names, strict=True)
    ]
    arrays = [
        sql.SQL("{}::{}").format(sql.Placeholder(one.name), _ARRAYS[one.type]) for one in columns
    ]
    # Sorted by key: predictors that write the same rows wait for each other, never in a circle.
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


_INSERT = _insert()
_DELETE = sql.SQL("DELETE FROM {} WHERE intake_id = ANY(%s)").format(_TABLE)
_NOTIFY = "SELECT pg_notify(%s, one) FROM unnest(%s::text[]) AS one"


class PredictionStore:
    """The predictor's connection, opened when it is needed and again after a failure.

    Methods raise psycopg.Error; then nothing of the batch is stored, or its commit was not heard
    of: writing it again is harmless either way.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection | None = None

    def write(self, scored: Scored, deleted: Sequence[int]) -> int:
        """Store a batch and tell who listens; return how many rows are new.

        Rows of `deleted` patients go first. A row that is there already stays as it is.
        """
        connection = self._open()
        try:
            with connection.transaction():
                if deleted:
                    connection.execute(_DELETE, (list(deleted),))
                if not scored.rows:
                    return 0
                new = connection.execute(_INSERT, scored.columns).rowcount
                ids = list(notifications(scored.ids))
                connection.execute(_NOTIFY, (PREDICTED_CHANNEL, ids))
                return new
        except psycopg.Error:
            self.close()
            raise

    def check(self) -> None:
        """Ask for the table, so that a database that cannot be used is known before a batch."""
        try:
            self._open().execute(sql.SQL("SELECT FROM {} LIMIT 1").format(_TABLE))
        except psycopg.Error:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._url, autocommit=True, **_CONNECT)
        return self._connection
