"""The PostgreSQL connection pool of the API and the errors of an unavailable database."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

logger = logging.getLogger("serving.database")

# A problem document reports each failed attempt; the pool's own log lines would repeat it.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)

WAIT_SECONDS = 2.0
"""How long a request waits for a connection."""
RETRY_SECONDS = 5
"""The `Retry-After` of a response in an outage."""
_MAX_WAITING_REQUESTS = 200

UNCHECKED_SECONDS = 1.0
"""A connection used within this time is not checked before use; a check costs a query."""


class Connection(psycopg.AsyncConnection[DictRow]):
    """A connection with the time of its last successful use."""

    used_at = 0.0


CONNECT: dict[str, Any] = {
    "row_factory": dict_row,
    "autocommit": True,
    "connect_timeout": 2,
    "application_name": "diabetes-api",
    # Detects within seconds a server that disappeared without closing the connection.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "options": "-c statement_timeout=10s",
}


class NoDatabaseError(Exception):
    """This server runs without a database: it predicts, but stores no patients."""


class DatabaseUnavailableError(Exception):
    """The database cannot be reached at the moment."""


class DatabaseMismatchError(DatabaseUnavailableError):
    """The database's tables are not the ones that this server expects."""


# Missing tables, columns or rights, and violated constraints: values were validated before, so such
# a constraint is not the contract's.
_MISMATCHES = (psycopg.ProgrammingError, psycopg.IntegrityError, psycopg.DataError)


class Database:
    """A pool of connections to one database. Opened once, it survives outages."""

    def __init__(self, url: str, *, connections: int) -> None:
        self.url = url
        self._pool = AsyncConnectionPool(
            url,
            connection_class=Connection,
            kwargs=CONNECT,
            min_size=1,
            max_size=connections,
            open=False,
            timeout=WAIT_SECONDS,
            max_waiting=_MAX_WAITING_REQUESTS,
            # The pool would wait longer and longer between attempts; a request starts new ones.
            reconnect_timeout=1.0,
            check=_check_unless_recent,
            name="api",
        )

    async def open(self) -> None:
        """Start to connect, without waiting for the server."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close(timeout=WAIT_SECONDS)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection in autocommit mode.

        Raises DatabaseUnavailableError or DatabaseMismatchError.
        """
        try:
            # A client that disconnects cancels every await of its request, including those that
            # return the connection to the pool.
            with anyio.CancelScope(shield=True):
                async with self._pool.connection() as connection:
                    yield connection
                    connection.used_at = time.monotonic()
        except psycopg.OperationalError as error:
            raise DatabaseUnavailableError(type(error).__name__) from error
        except _MISMATCHES as error:
            if error.sqlstate is None:
                # An error without a code is not the server's, but a fault of this program.
                raise
            mismatch = _without_values(error)
            logger.error("the database does not match this server: %s", mismatch)  # noqa: TRY400
            raise DatabaseMismatchError(mismatch) from None


def _without_values(error: psycopg.Error) -> str:
    """Return the server's message; its detail and a traceback would contain the row."""
    # The message of a DataError contains the value.
    if isinstance(error, psycopg.DataError):
        return type(error).__name__
    return str(error.diag.message_primary)


async def _check_unless_recent(connection: Connection) -> None:
    if time.monotonic() - connection.used_at > UNCHECKED_SECONDS:
        await AsyncConnectionPool.check_connection(connection)
