"""The connections to PostgreSQL, and what it means when there are none."""

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

# Each failed attempt is told by a problem document; the pool's own lines would repeat it.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)

WAIT_SECONDS = 2.0
"""How long a request waits for a connection before it is told that there is none."""
RETRY_SECONDS = 5
"""When a refused caller is asked to come again."""
_LONGEST_QUEUE = 200

TRUSTED_SECONDS = 1.0
"""A connection that was of use so lately is lent without being tried: that is a query too."""


class Connection(psycopg.AsyncConnection[DictRow]):
    """A connection that knows when it was last of use."""

    used_at = 0.0


CONNECT: dict[str, Any] = {
    "row_factory": dict_row,
    "autocommit": True,
    "connect_timeout": 2,
    "application_name": "diabetes-api",
    # A server that vanished without a word is noticed within seconds.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "options": "-c statement_timeout=10s",
}


class NoDatabaseError(Exception):
    """This server was started without a database: it judges patients, but keeps none."""


class DatabaseUnavailableError(Exception):
    """The database cannot be reached at the moment."""


class DatabaseMismatchError(DatabaseUnavailableError):
    """The database answers, but its tables are not those that this server was made for."""


# Tables, columns or rights that are missing, and rules that are not the contract's own: those were
# asked first.
_MISMATCHES = (psycopg.ProgrammingError, psycopg.IntegrityError, psycopg.DataError)


class Database:
    """A pool of connections to one database; opened once, it outlives every outage of it."""

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
            max_waiting=_LONGEST_QUEUE,
            # It would wait ever longer between attempts; the next request begins anew instead.
            reconnect_timeout=1.0,
            check=_try_unless_trusted,
            name="api",
        )

    async def open(self) -> None:
        """Begin to connect; does not wait for the server."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close(timeout=WAIT_SECONDS)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection, each statement its own transaction; else DatabaseUnavailableError."""
        try:
            # A client that leaves breaks off every await of its answer, those by which a
            # connection goes back to the pool too.
            with anyio.CancelScope(shield=True):
                async with self._pool.connection() as connection:
                    yield connection
                    connection.used_at = time.monotonic()
        except psycopg.OperationalError as error:
            raise DatabaseUnavailableError(type(error).__name__) from error
        except _MISMATCHES as error:
            if error.sqlstate is None:
                # The server was not even asked: a fault of this program.
                raise
            told = _without_values(error)
            logger.error("the database is not as this server needs it: %s", told)  # noqa: TRY400
            raise DatabaseMismatchError(told) from None


def _without_values(error: psycopg.Error) -> str:
    """Return what the server names: its detail, and a traceback, hold the row."""
    first_line = error.diag.message_primary
    # That of a value which does not fit holds the value.
    return type(error).__name__ if isinstance(error, psycopg.DataError) else str(first_line)


async def _try_unless_trusted(connection: Connection) -> None:
    if time.monotonic() - connection.used_at > TRUSTED_SECONDS:
        await AsyncConnectionPool.check_connection(connection)
