"""One PostgreSQL server for the benchmark, and a fresh, migrated database for each run."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.warehouse.migrate import upgrade


@contextmanager
def database(server: Postgres, name: str) -> Iterator[str]:
    """Yield the URL of a migrated database as `make demo` makes it; it is dropped at the end."""
    url = server.create_database(name)
    try:
        upgrade(url)
        with psycopg.connect(url, autocommit=True) as connection:
            # No run pays for dirty pages of the previous run.
            connection.execute("CHECKPOINT")
        yield url
    finally:
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute(drop)


def new_server(directory: Path) -> Postgres:
    """Return a server with the platform's own settings on a free port; `with` starts it.

    Only autovacuum is off: it would tidy up after one run during the next.
    """
    password = secrets.token_hex(16)
    settings = {"autovacuum": "off"}
    return Postgres(
        directory / "postgres", free_port(), password, settings=settings, generated_password=True
    )
