"""Sessions on a PostgreSQL server, and the creation of databases."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
from psycopg import Connection, sql

from diabetes_platform.errors import PlatformError


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Yield a connection in autocommit mode; database errors become PlatformError."""
    parts = urlsplit(url)
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            yield connection
    except psycopg.Error as error:
        server = f"PostgreSQL on {parts.hostname}:{parts.port or 5432} as {parts.username}"
        raise PlatformError(f"{server}: {str(error).strip().splitlines()[0]}") from error


def ensure_database(connection: Connection, name: str, *, durable: bool) -> None:
    """Create the database if it is missing.

    A commit to a database that is not `durable` does not wait for the disk: a crash of the machine
    may lose the last second, but not consistency.
    """
    database = sql.Identifier(name)
    exists = "SELECT FROM pg_database WHERE datname = %s"
    if connection.execute(exists, (name,)).fetchone() is None:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(database))
    if not durable:
        alter = sql.SQL("ALTER DATABASE {} SET synchronous_commit = off")
        connection.execute(alter.format(database))
