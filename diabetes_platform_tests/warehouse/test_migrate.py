"""Migrations: from nothing to the contract's schema, again without effect, and back."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest
from psycopg import Connection, sql

from diabetes_platform.contract.fields import FIELDS, Field
from diabetes_platform.contract.tables import (
    DIABETES_NEW,
    SERVING_PATIENTS,
    STAGING_PATIENTS,
    Column,
    Table,
)
from diabetes_platform.warehouse import ddl
from diabetes_platform.warehouse.migrate import LOCATION, downgrade, sqlalchemy_url, upgrade

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Kept:
    """A contract table as the warehouse keeps it; `own` names what the contract does not have."""

    relation: str
    table: Table
    strict: bool
    own: frozenset[str] = frozenset()


INTAKE = Kept(
    "public.diabetes_new",
    DIABETES_NEW,
    strict=True,
    own=frozenset({"diabetes_new_pkey", "outcome_recorded"}),
)
# Staging has no constraint: there the expectations judge.
STAGING = Kept("staging.patients", STAGING_PATIENTS, strict=False)
VERSIONS = Kept(
    "serving.patient_versions", SERVING_PATIENTS, strict=True, own=frozenset({"version"})
)
TABLES = [INTAKE, STAGING, VERSIONS]

Schema = list[tuple[str, str]]


def columns(connection: Connection, relation: str) -> Schema:
    """The relation's columns in order, each with its type and nullability."""
    return connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod)"
        " || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END"
        " FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
        " ORDER BY attnum",
        (relation,),
    ).fetchall()


def constraints(connection: Connection, relation: str) -> Schema:
    """The relation's named rules as PostgreSQL writes them; NOT NULL belongs to the columns."""
    return connection.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = to_regclass(%s) AND contype <> 'n' ORDER BY conname",
        (relation,),
    ).fetchall()


def schema(connection: Connection, relation: str) -> Schema:
    return columns(connection, relation) + constraints(connection, relation)


def rendered(connection: Connection, kept: Kept, fields: tuple[Field, ...]) -> Schema:
    """The schema of the contract's own DDL, in PostgreSQL's words."""
    parts = [ddl.columns(kept.table, not_null=kept.strict)]
    parts += ddl.field_checks(fields) if kept.strict else []
    connection.execute("CREATE SCHEMA contract")
    create = sql.SQL("CREATE TABLE contract.rendered ({})").format(sql.SQL(", ").join(parts))
    connection.execute(create)
    found = schema(connection, "contract.rendered")
    connection.execute("DROP SCHEMA contract CASCADE")
    return found


def migrated(connection: Connection, kept: Kept) -> Schema:
    return [part for part in schema(connection, kept.relation) if part[0] not in kept.own]


@pytest.fixture
def connection(warehouse: str) -> Iterator[Connection]:
    with psycopg.connect(warehouse) as opened:
        yield opened


@pytest.mark.parametrize("kept", TABLES, ids=lambda kept: kept.relation)
def test_the_migrated_tables_are_those_of_the_contract(connection: Connection, kept: Kept) -> None:
    assert migrated(connection, kept) == rendered(connection, kept, FIELDS), (
        "the contract has changed: add a revision to diabetes_platform/warehouse/migrations"
    )
    assert kept.own <= {name for name, _ in schema(connection, kept.relation)}


def test_the_served_view_shows_the_columns_of_the_contract(connection: Connection) -> None:
    view = [name for name, _ in columns(connection, "serving.patients")]
    assert view == list(SERVING_PATIENTS.column_names)


def differences(
    connection: Connection, fields: tuple[Field, ...], columns: tuple[Column, ...]
) -> set[str]:
    """What a contract of `fields` and `columns` has that the migrated serving table lacks."""
    other = replace(VERSIONS, table=replace(SERVING_PATIENTS, columns=columns))
    there = migrated(connection, VERSIONS)
    return {name for name, rule in rendered(connection, other, fields) if (name, rule) not in there}


@pytest.mark.parametrize("change", [{"minimum": 41}, {"maximum": 599}, {"allowed": (100, 200)}])
def test_another_rule_of_a_field_demands_a_revision(
    connection: Connection, change: dict[str, Any]
) -> None:
    fields = tuple(replace(f, **change) if f.name == "glucose" else f for f in FIELDS)
    assert differences(connection, fields, SERVING_PATIENTS.columns) == {"glucose_allowed"}


@pytest.mark.parametrize("change", [{"nullable": True}, {"type": "bigint"}, {"name": "origin"}])
def test_another_column_demands_a_revision(connection: Connection, change: dict[str, Any]) -> None:
    columns = tuple(
        replace(c, **change) if c.name == "source" else c for c in SERVING_PATIENTS.columns
    )
    assert differences(connection, FIELDS, columns) == {change.get("name", "source")}


def test_a_revision_is_frozen() -> None:
    revisions = sorted((LOCATION / "versions").glob("[0-9]*.py"))
    assert revisions
    for revision in revisions:
        assert "diabetes_platform" not in revision.read_text(), revision.name


def test_migrating_again_changes_nothing(warehouse: str, connection: Connection) -> None:
    before = [schema(connection, kept.relation) for kept in TABLES]
    connection.commit()
    upgrade(warehouse)
    assert [schema(connection, kept.relation) for kept in TABLES] == before
    versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    assert versions == [("0001",)]


def test_the_first_migration_can_be_taken_back(warehouse: str) -> None:
    downgrade(warehouse, "base")
    with psycopg.connect(warehouse) as connection:
        assert all(schema(connection, kept.relation) == [] for kept in TABLES)
    upgrade(warehouse)
    with psycopg.connect(warehouse) as connection:
        assert all(schema(connection, kept.relation) for kept in TABLES)


@pytest.mark.parametrize(
    "url", ["postgresql://user:p%40ss@127.0.0.1:5433/db", "postgres://user:p%40ss@127.0.0.1/db"]
)
def test_a_url_keeps_its_password_when_it_becomes_sqlalchemys(url: str) -> None:
    assert sqlalchemy_url(url).startswith("postgresql+psycopg://user:p%40ss@127.0.0.1")
