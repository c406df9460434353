"""A worker whose connector captures, and what changes its table and its configuration."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from diabetes_platform.local.connect.setup import Outcome, read_config, setup_connector
from diabetes_platform_tests.capture import Connect

INSERT = """
INSERT INTO diabetes_new (pregnancies, glucose, bmi, diabetes_pedigree_function, age)
VALUES (1, 120, 28.5, 0.4, %s) RETURNING id
"""

Changed = Callable[..., Path]


@pytest.fixture
def capturing(connect: Connect) -> Connect:
    """A worker whose connector captures."""
    set_up(connect)
    return connect


@pytest.fixture
def intake(connect: Connect) -> Iterator[Connection]:
    """A session that may write patients and end other sessions."""
    url = connect.database.server.url("diabetes")
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def changed(tmp_path: Path) -> Changed:
    """Writes the connector's configuration with some values changed."""

    def write(**settings: str) -> Path:
        config = dict(read_config())
        config |= {name.replace("_", "."): value for name, value in settings.items()}
        file = tmp_path / "diabetes-cdc.json"
        file.write_text(json.dumps(config))
        return file

    return write


def set_up(connect: Connect, *more: Any, seconds: float = 60) -> Outcome:
    return setup_connector(connect.url, connect.database_url, *more, seconds=seconds)


def insert(intake: Connection, *ages: int) -> list[int]:
    """Store one patient for each age and return their ids."""
    rows = [intake.execute(INSERT, (age,)).fetchone() for age in ages]
    return [row[0] for row in rows if row is not None]
