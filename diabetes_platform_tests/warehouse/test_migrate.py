"""Migrations: from an empty database to the contract's schema, repeated, rejected."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
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
from diabetes_platform.warehouse import migrate
from diabetes_platform.warehouse.migrate import (
    LOCATION,
    MigrationError,
    require_contract,
    upgrade,
)
from diabetes_platform.warehouse.replication import PUBLICATION
from diabetes_platform.warehouse.roles import WAREHOUSE_ROLES
from diabetes_platform_tests.grown_contract import migration_hint
from diabetes_platform_tests.warehouse import rendered_ddl

pytestmark = pytest.mark.integration
HEAD = max(path.name[:4] for path in (LOCATION / "versions").glob("[0-9]*.py"))
FIRST = "diabetes_platform.warehouse.migrations.versions.0005_first_schema"
FROZEN_ROLES: str = import_module(FIRST).ROLES


@dataclass(frozen=True)
class Stored:
    """A contract table as the warehouse stores it; `extra` names its further columns and rules.

    `strict`: it has the contract's nullability. `measured`: and a rule for each field.
    """

    relation: str
    table: Table
    strict: bool
    measured: bool
    extra: frozenset[str] = frozenset()


INTAKE = Stored(
    "public.diabetes_new",
    DIABETES_NEW,
    strict=True,
    measured=True,
    extra=frozenset(
        {
            "diabetes_new_pkey",
            "outcome_recorded",
            "id_allowed",
            "received_at_allowed",
            "outcome_recorded_at_allowed",
        }
    ),
)
# Staging has no constraint: there the expectations judge.
STAGING = Stored("staging.patients", STAGING_PATIENTS, strict=False, measured=False)
VERSIONS = Stored(
    "serving.patient_versions",
    SERVING_PATIENTS,
    strict=True,
    measured=True,
    extra=frozenset({"version"}),
)
PREDICTED = Stored(
    PREDICTIONS.name,
    PREDICTIONS,
    strict=True,
    measured=False,
    extra=frozenset({"predictions_pkey", "probability_allowed", "result_allowed"}),
)
TABLES = [INTAKE, STAGING, VERSIONS, PREDICTED]

Schema = list[tuple[str, str]]


def columns(connection: Connection, relation: str) -> Schema:
    """The relation's columns, each with its type and nullability."""
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
    """Columns by name, then rules: the physical order of columns does not matter."""
    return sorted(columns(connection, relation)) + constraints(connection, relation)


def rendered(connection: Connection, stored: Stored, fields: tuple[Field, ...]) -> Schema:
    """The schema of the contract's own DDL, in PostgreSQL's words."""
    parts = [rendered_ddl.columns(stored.table, not_null=stored.strict)]
    parts += rendered_ddl.field_checks(fields) if stored.measured else []
    connection.execute("CREATE SCHEMA contract")
    create = sql.SQL("CREATE TABLE contract.rendered ({})").format(sql.SQL(", ").join(parts))
    connection.execute(create)
    rendered_schema = schema(connection, "contract.rendered")
    connection.execute("DROP SCHEMA contract CASCADE")
    return rendered_schema


def migrated(connection: Connection, stored: Stored) -> Schema:
    return [part for part in schema(connection, stored.relation) if part[0] not in stored.extra]


@pytest.fixture
def connection(warehouse: str) -> Iterator[Connection]:
    with psycopg.connect(warehouse) as opened:
        yield opened


def test_every_field_has_a_migration() -> None:
    hint = migration_hint()
    assert hint is None, hint


@pytest.mark.parametrize("stored", TABLES, ids=lambda stored: stored.relation)
def test_the_migrated_tables_are_those_of_the_contract(
    connection: Connection, stored: Stored
) -> None:
    assert migrated(connection, stored) == rendered(connection, stored, FIELDS), (
        "the contract has changed: add a revision to diabetes_platform/warehouse/migrations"
    )
    assert stored.extra <= {name for name, _ in schema(connection, stored.relation)}


def test_the_served_view_shows_the_columns_of_the_contract(connection: Connection) -> None:
    view = [name for name, _ in columns(connection, "serving.patients")]
    assert sorted(view) == sorted(SERVING_PATIENTS.column_names)


def differences(
    connection: Connection, fields: tuple[Field, ...], columns: tuple[Column, ...]
) -> set[str]:
    """What a contract of `fields` and `columns` has that the migrated serving table lacks."""
    other = replace(VERSIONS, table=replace(SERVING_PATIENTS, columns=columns))
    stored = migrated(connection, VERSIONS)
    return {
        name for name, rule in rendered(connection, other, fields) if (name, rule) not in stored
    }


@pytest.mark.parametrize("change", [{"minimum": 41}, {"maximum": 599}, {"allowed": (148, 200)}])
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
    schemas = [schema(connection, stored.relation) for stored in TABLES]
    connection.commit()
    upgrade(warehouse)
    assert [schema(connection, stored.relation) for stored in TABLES] == schemas
    versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    assert versions == [(HEAD,)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "ALTER TABLE public.diabetes_new DROP COLUMN glucose",
            "public.diabetes_new.glucose is no such column, the contract has double precision",
        ),
        (
            "ALTER TABLE staging.patients ADD COLUMN hba1c double precision",
            "staging.patients.hba1c is double precision, the contract has no such column",
        ),
        (
            "ALTER TABLE staging.patients ALTER COLUMN age TYPE text",
            "staging.patients.age is text, the contract has double precision",
        ),
    ],
)
def test_rejects_a_warehouse_with_other_columns_than_the_contract(
    connection: Connection, change: str, message: str
) -> None:
    require_contract(connection)
    connection.execute(change.encode())
    with pytest.raises(
        MigrationError, match=re.escape(f"does not match the contract: {message}. A new")
    ):
        require_contract(connection)
    connection.rollback()


def test_accepts_columns_in_another_physical_order(connection: Connection) -> None:
    connection.execute("ALTER TABLE staging.patients DROP COLUMN age")
    connection.execute("ALTER TABLE staging.patients ADD COLUMN age double precision")
    require_contract(connection)
    connection.rollback()


@pytest.fixture
def migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the migrations in which a test may add one."""
    copy = tmp_path / "migrations"
    shutil.copytree(LOCATION, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(migrate, "LOCATION", copy)
    return copy


def add_revision(migrations: Path, number: int, down_revision: str) -> None:
    """Write a migration that does nothing."""
    (migrations / "versions" / f"{number:04}_nothing.py").write_text(
        f'revision = "{number:04}"\ndown_revision = "{down_revision}"\n'
        "branch_labels = None\ndepends_on = None\n\n\n"
        "def upgrade() -> None:\n    pass\n"
    )


def test_rejects_two_migrations_in_the_wrong_order(migrations: Path) -> None:
    newest = int(HEAD)
    add_revision(migrations, newest + 1, f"{newest + 2:04}")
    add_revision(migrations, newest + 2, HEAD)
    message = f"{newest + 1:04}_nothing.py: down_revision is '{newest + 2:04}'; allowed: '{HEAD}'"
    with pytest.raises(MigrationError, match=message):
        upgrade("postgresql://nobody@127.0.0.1:1/never-reached")


def test_rejects_two_migrations_after_the_same_one(migrations: Path) -> None:
    newest = int(HEAD)
    for number in (newest + 1, newest + 2):
        add_revision(migrations, number, HEAD)
    message = f"{newest + 2:04}_nothing.py: down_revision is '{HEAD}'; allowed: '{newest + 1:04}'"
    with pytest.raises(MigrationError, match=message):
        upgrade("postgresql://nobody@127.0.0.1:1/never-reached")


def test_rejects_a_migration_whose_predecessor_is_missing(migrations: Path) -> None:
    add_revision(migrations, int(HEAD) + 1, "4711")
    with pytest.raises(MigrationError, match=r"form no chain: .*4711"):
        upgrade("postgresql://nobody@127.0.0.1:1/never-reached")


@pytest.mark.parametrize("revision", ["9999", "0004"])
def test_rejects_a_database_with_another_platforms_migration(
    database_url: str, revision: str
) -> None:
    upgrade(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", (revision,))
    message = rf"'{revision}'.*lacks that migration.*before migration 0005 must be created again"
    with pytest.raises(MigrationError, match=message):
        upgrade(database_url)


def test_the_migrations_create_the_roles_of_the_warehouse_without_login(
    connection: Connection,
) -> None:
    (listed,) = re.findall(r"ARRAY\[([^]]+)\]", FROZEN_ROLES)
    assert set(re.findall(r"'(\w+)'", listed)) == {role.name for role in WAREHOUSE_ROLES}
    created = connection.execute(
        "SELECT rolname, rolcanlogin, rolsuper OR rolreplication FROM pg_roles"
        " WHERE rolname = ANY(%s)",
        ([role.name for role in WAREHOUSE_ROLES],),
    ).fetchall()
    assert sorted(created) == sorted((role.name, False, False) for role in WAREHOUSE_ROLES)


def test_names_the_missing_role_that_may_not_be_created(database_url: str) -> None:
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


def test_predictions_have_the_contracts_result_labels_and_key(connection: Connection) -> None:
    (rule,) = [
        rule for name, rule in schema(connection, PREDICTED.relation) if name == "result_allowed"
    ]
    assert set(re.findall(r"'(\w+)'", rule)) == set(RESULT_LABELS)
    (key,) = [
        rule for name, rule in schema(connection, PREDICTED.relation) if name.endswith("_pkey")
    ]
    assert key == f"PRIMARY KEY ({', '.join(PREDICTIONS.key)})"
