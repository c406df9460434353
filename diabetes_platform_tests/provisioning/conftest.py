"""A Connect worker with a running connector, and helpers that change its table and settings."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import Connection

from diabetes_platform.clients.connect import ConnectorState
from diabetes_platform.provisioning.connector import (
    CONNECTOR_FILE,
    read_config,
    setup_connector,
)
from diabetes_platform_tests.capture import Connect

INSERT = """
INSERT INTO diabetes_new (pregnancies, glucose, bmi, diabetes_pedigree_function, age)
VALUES (1, 120, 28.5, 0.4, %s) RETURNING id
"""

WriteConfig = Callable[..., Path]


@pytest.fixture
def capturing(connect: Connect) -> Connect:
    """A worker with a running connector."""
    set_up(connect)
    return connect


@pytest.fixture
def intake(connect: Connect) -> Iterator[Connection]:
    """A superuser's session on the warehouse."""
    url = connect.database.server.url("diabetes")
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def write_config(tmp_path: Path) -> WriteConfig:
    """Return a function that writes the connector's configuration with changed settings."""

    def write(**settings: str) -> Path:
        config = dict(read_config())
        config |= {name.replace("_", "."): value for name, value in settings.items()}
        file = tmp_path / "diabetes-cdc.json"
        file.write_text(json.dumps(config))
        return file

    return write


def set_up(
    connect: Connect, file: Path = CONNECTOR_FILE, timeout: float = 60
) -> tuple[ConnectorState, bool]:
    return setup_connector(connect.url, connect.database_url, file, timeout)


def insert(intake: Connection, *ages: int) -> list[int]:
    """Insert one patient for each age and return their ids."""
    rows = [intake.execute(INSERT, (age,)).fetchone() for age in ages]
    return [row[0] for row in rows if row is not None]
