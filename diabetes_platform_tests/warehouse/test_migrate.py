"""Migrations: from nothing to the newest schema, again without effect, and back."""

import psycopg
import pytest

from diabetes_platform.contract.tables import SERVING_PATIENTS, STAGING_PATIENTS
from diabetes_platform.warehouse.migrate import downgrade, sqlalchemy_url, upgrade

pytestmark = pytest.mark.integration


def columns(url: str, schema: str, table: str) -> tuple[str, ...]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
            (schema, table),
        ).fetchall()
    return tuple(name for (name,) in rows)


def test_the_tables_have_the_columns_of_the_contract(warehouse: str) -> None:
    assert columns(warehouse, "staging", "patients") == STAGING_PATIENTS.column_names
    assert columns(warehouse, "serving", "patients") == SERVING_PATIENTS.column_names


def test_migrating_again_changes_nothing(warehouse: str) -> None:
    upgrade(warehouse)
    with psycopg.connect(warehouse) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [
            ("0001",)
        ]


def test_the_first_migration_can_be_taken_back(warehouse: str) -> None:
    downgrade(warehouse, "base")
    assert columns(warehouse, "staging", "patients") == ()
    upgrade(warehouse)
    assert columns(warehouse, "staging", "patients") == STAGING_PATIENTS.column_names


@pytest.mark.parametrize(
    "url", ["postgresql://user:p%40ss@127.0.0.1:5433/db", "postgres://user:p%40ss@127.0.0.1/db"]
)
def test_a_url_keeps_its_password_when_it_becomes_sqlalchemys(url: str) -> None:
    assert sqlalchemy_url(url).startswith("postgresql+psycopg://user:p%40ss@127.0.0.1")
