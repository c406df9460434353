"""Commands report a missing database of Dagster in one line."""

import secrets
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.dagster.instance import open_instance
from diabetes_platform.local.postgres.server import Postgres

pytestmark = pytest.mark.integration

CONFIGURATION = """
storage:
  postgres:
    postgres_url: {url}
"""


@pytest.fixture
def url(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a database that DAGSTER_HOME's instance uses."""
    url = postgres.create_database(f"dagster_{secrets.token_hex(4)}")
    (tmp_path / "dagster.yaml").write_text(CONFIGURATION.format(url=url))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return url


def drop(postgres: Postgres, url: str) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        name = sql.Identifier(url.rpartition("/")[2])
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def test_a_database_that_was_dropped_before_the_command(postgres: Postgres, url: str) -> None:
    drop(postgres, url)
    with pytest.raises(PlatformError, match="database does not answer") as raised, open_instance():
        pass
    assert "\n" not in str(raised.value)
    assert "`make up` creates a deleted one again" in str(raised.value)


def test_a_database_that_is_dropped_during_the_command(postgres: Postgres, url: str) -> None:
    def command() -> None:
        with open_instance() as instance:
            assert instance.get_runs() == []
            drop(postgres, url)
            instance.get_runs()

    with pytest.raises(PlatformError, match="database does not answer") as raised:
        command()
    assert "\n" not in str(raised.value)


def test_other_errors_pass_through(url: str) -> None:
    with pytest.raises(LookupError), open_instance():
        raise LookupError(url)
