"""The PostgreSQL connection pool of the API and the errors of an unavailable database."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from serving.app.postgres import LenientTimestamptzLoader, disconnect
from serving.app.problems import ProblemError

logger = logging.getLogger("serving.database")

# A problem document reports each failed attempt; the pool's own log lines would repeat it.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)

_UNAVAILABLE_DETAIL = (
    "The database cannot be reached. The change may or may not have been stored. It is "
    "safe to repeat an outcome, and a patient with the same Idempotency-Key."
)
_MISMATCH_DETAIL = (
    "The database does not match this server: {mismatch}. Nothing was stored. Send the request "
    "again when the operator has brought both to the same version."
)

WAIT_SECONDS = 2.0
"""How long a request waits for a connection, and a closing pool for its tasks."""
_MAX_WAITING_REQUESTS = 200
DEADLINE_SECONDS = 4.0
"""How long a request may use the database, the wait for a connection included."""
_CHECK_SECONDS = 1.0

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
    "options": f"-c statement_timeout={DEADLINE_SECONDS:.0f}s",
}


class DatabaseError(ProblemError):
    """The database cannot serve the request at the moment."""


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be reached."""

    def __init__(self) -> None:
        super().__init__(503, _UNAVAILABLE_DETAIL, kind="database-unavailable", retry=True)


class DatabaseMismatchError(DatabaseError):
    """The database's tables are not the ones that this server expects."""

    def __init__(self, mismatch: str) -> None:
        detail = _MISMATCH_DETAIL.format(mismatch=mismatch)
        super().__init__(503, detail, kind="database-mismatch", retry=True)


# Missing tables, columns or rights, and violated constraints: values were validated before, so such
# a constraint is not the contract's.
_MISMATCHES = (psycopg.ProgrammingError, psycopg.IntegrityError, psycopg.DataError)


class Database:
    """Connections to one database while `pool` is open; it survives outages."""

    def __init__(self, url: str, *, connections: int) -> None:
        self.pool = AsyncConnectionPool(
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
            configure=_configure,
            name="api",
        )

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection in autocommit mode; raise DatabaseError without one.

        Also raises it in a block that ends later than DEADLINE_SECONDS after the call.
        """
        started = time.monotonic()
        try:
            # A client that disconnects cancels every await of its request, including those that
            # return the connection to the pool.
            with anyio.CancelScope(shield=True):
                async with self.pool.connection() as connection:
                    remaining = DEADLINE_SECONDS - (time.monotonic() - started)
                    with _disconnected_after(connection, remaining):
                        yield connection
                    connection.used_at = time.monotonic()
        except psycopg.OperationalError as error:
            raise DatabaseUnavailableError from error
        except _MISMATCHES as error:
            if error.sqlstate is None:
                # An error without a code is not the server's, but a fault of this program.
                raise
            # The detail, a traceback and the message of a DataError contain the row.
            is_value = isinstance(error, psycopg.DataError)
            mismatch = type(error).__name__ if is_value else str(error.diag.message_primary)
            logger.error("the database does not match this server: %s", mismatch)  # noqa: TRY400
            raise DatabaseMismatchError(mismatch) from None


@contextmanager
def _disconnected_after(connection: Connection, seconds: float) -> Iterator[None]:
    timer = asyncio.get_running_loop().call_later(seconds, disconnect, connection)
    try:
        yield
    finally:
        timer.cancel()


async def _check_unless_recent(connection: Connection) -> None:
    if time.monotonic() - connection.used_at > UNCHECKED_SECONDS:
        with _disconnected_after(connection, _CHECK_SECONDS):
            await AsyncConnectionPool.check_connection(connection)


async def _configure(connection: Connection) -> None:
    connection.adapters.register_loader("timestamptz", LenientTimestamptzLoader)
