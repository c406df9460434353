"""Migrations: from nothing to the contract's schema, again without effect, and back."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import psycopg
import pytest
from psycopg import Connection, sql
from psycopg.errors import InsufficientPrivilege

from diabetes_platform.contract.fields import FIELDS, RESULT_LABELS, Field
from diabetes_platform.contract.tables import (
    DIABETES_NEW,
    PREDICTIONS,
    SERVING_PATIENTS,
    STAGING_PATIENTS,
    Column,
    Table,
)
from diabetes_platform.warehouse import ddl
from diabetes_platform.warehouse.migrate import LOCATION, downgrade, sqlalchemy_url, upgrade
from diabetes_platform.warehouse.replication import PUBLICATION
from diabetes_platform.warehouse.roles import ROLES, WAREHOUSE_ROLES

pytestmark = pytest.mark.integration
SECOND = "diabetes_platform.warehouse.migrations.versions.0002_roles_predictions_publication"
FROZEN_ROLES: str = import_module(SECOND).ROLES


@dataclass(frozen=True)
class Kept:
    """A contract table as the warehouse keeps it; `own` names what the contract does not have.

    `strict`: it has the contract's nullability. `measured`: and a rule for each field.
    """

    relation: str
    table: Table
    strict: bool
    measured: bool
    own: frozenset[str] = frozenset()


INTAKE = Kept(
    "public.diabetes_new",
    DIABETES_NEW,
    strict=True,
    measured=True,
    own=frozenset({"diabetes_new_pkey", "outcome_recorded"}),
)
# Staging has no constraint: there the expectations judge.
STAGING = Kept("staging.patients", STAGING_PATIENTS, strict=False, measured=False)
VERSIONS = Kept(
    "serving.patient_versions",
    SERVING_PATIENTS,
    strict=True,
    measured=True,
    own=frozenset({"version"}),
)
ANSWERS = Kept(
    PREDICTIONS.name,
    PREDICTIONS,
    strict=True,
    measured=False,
    own=frozenset({"predictions_pkey", "probability_allowed", "result_allowed"}),
)
TABLES = [INTAKE, STAGING, VERSIONS, ANSWERS]

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
    parts += ddl.field_checks(fields) if kept.measured else []
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
    assert versions == [("0005",)]


def grants(url: str) -> list[tuple[object, ...]]:
    """The rights on this database's schemas and tables, and on itself."""
    query = """
        SELECT 'database', NULL, datacl::text FROM pg_database WHERE datname = current_database()
        UNION ALL SELECT 'schema', nspname, nspacl::text FROM pg_namespace
            WHERE nspname IN ('public', 'staging', 'serving')
        UNION ALL SELECT 'table', oid::regclass::text, relacl::text FROM pg_class
            WHERE relnamespace::regnamespace::text IN ('public', 'staging', 'serving')
        UNION ALL SELECT 'defaults', defaclobjtype::text, defaclacl::text FROM pg_default_acl
        ORDER BY 1, 2
    """
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def test_all_migrations_can_be_taken_back(database_url: str) -> None:
    upgrade(database_url)
    migrated_grants = grants(database_url)
    downgrade(database_url, "base")
    with psycopg.connect(database_url) as connection:
        assert all(schema(connection, kept.relation) == [] for kept in TABLES)
        assert connection.execute("SELECT pubname FROM pg_publication").fetchall() == []
    upgrade(database_url)
    assert grants(database_url) == migrated_grants


def test_the_second_migration_taken_back_leaves_no_right_to_its_roles(database_url: str) -> None:
    upgrade(database_url, "0001")
    before = public_rights(database_url)
    upgrade(database_url)
    assert public_rights(database_url) != before
    downgrade(database_url, "0001")
    assert public_rights(database_url) == before
    remaining = str(grants(database_url))
    assert not [role.name for role in ROLES if f"{role.name}=" in remaining]


def public_rights(url: str) -> list[tuple[bool, ...]]:
    """What a role without any grant may do here."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT has_database_privilege('reader', current_database(), 'CONNECT'),"
            " has_database_privilege('debezium', current_database(), 'TEMPORARY'),"
            " has_schema_privilege('reader', 'public', 'USAGE'),"
            " EXISTS (SELECT FROM pg_default_acl)"
        ).fetchall()


def test_the_migrations_make_the_roles_of_the_warehouse_without_a_login(
    connection: Connection,
) -> None:
    (listed,) = re.findall(r"ARRAY\[([^]]+)\]", FROZEN_ROLES)
    assert set(re.findall(r"'(\w+)'", listed)) == {role.name for role in WAREHOUSE_ROLES}
    made = connection.execute(
        "SELECT rolname, rolcanlogin, rolsuper OR rolreplication FROM pg_roles"
        " WHERE rolname = ANY(%s)",
        ([role.name for role in WAREHOUSE_ROLES],),
    ).fetchall()
    assert sorted(made) == sorted((role.name, False, False) for role in WAREHOUSE_ROLES)


def test_whoever_may_not_create_a_missing_role_is_told_which(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE poor NOLOGIN")
        connection.execute("ALTER ROLE reader RENAME TO reader_for_now")
        connection.execute("SET ROLE poor")
        try:
            with pytest.raises(InsufficientPrivilege, match="role reader is missing and poor may"):
                connection.execute(FROZEN_ROLES)
        finally:
            connection.execute("RESET ROLE")
            connection.execute("ALTER ROLE reader_for_now RENAME TO reader")
            connection.execute("DROP ROLE poor")


def test_the_publication_is_of_the_intake_table_alone(connection: Connection) -> None:
    tables = connection.execute(
        "SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = %s",
        (PUBLICATION,),
    ).fetchall()
    assert tables == [(DIABETES_NEW.name,)]


def test_a_prediction_says_what_the_contract_calls_the_results(connection: Connection) -> None:
    (rule,) = [
        rule for name, rule in schema(connection, ANSWERS.relation) if name == "result_allowed"
    ]
    assert set(re.findall(r"'(\w+)'", rule)) == set(RESULT_LABELS)
    (key,) = [rule for name, rule in schema(connection, ANSWERS.relation) if name.endswith("_pkey")]
    assert key == f"PRIMARY KEY ({', '.join(PREDICTIONS.key)})"


@pytest.mark.parametrize(
    "url", ["postgresql://user:p%40ss@127.0.0.1:5433/db", "postgres://user:p%40ss@127.0.0.1/db"]
)
def test_a_url_keeps_its_password_when_it_becomes_sqlalchemys(url: str) -> None:
    assert sqlalchemy_url(url).startswith("postgresql+psycopg://user:p%40ss@127.0.0.1")
