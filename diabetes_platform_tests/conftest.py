"""Fixtures that every test shares: one real PostgreSQL per run, one empty database per test."""

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from diabetes_platform.launcher.ports import free_port
from diabetes_platform.launcher.postgres import Postgres
from diabetes_platform.launcher.processes import heed_interrupts

FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""Tests need no data after a power cut."""


def pytest_configure() -> None:
    """Stop the services also where the run itself was started in the background."""
    heed_interrupts()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A running server of the test run's own, on a free port."""
    data_dir = tmp_path_factory.mktemp("postgres") / "data"
    password = secrets.token_urlsafe(24)
    with Postgres(
        data_dir, free_port(), password, settings=FAST, generated_password=True
    ) as server:
        yield server


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database that only this test uses."""
    name = f"test_{secrets.token_hex(6)}"
    yield postgres.create_database(name)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        connection.execute(drop)
