"""The warehouse's migrations, run with Alembic, and the check of its schema against the contract.

A migration is one file in `migrations/versions/`: frozen SQL, which does not import the contract.
"""

import warnings
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from psycopg import Connection, sql
from sqlalchemy import create_engine

from diabetes_platform.contract.tables import (
    DIABETES_NEW,
    PREDICTIONS,
    SERVING_PATIENTS,
    STAGING_PATIENTS,
    ColumnType,
    Table,
)
from diabetes_platform.warehouse.roles import WAREHOUSE_ROLES

LOCATION = Path(__file__).parent / "migrations"
TYPES: dict[ColumnType, str] = {
    "text": "text",
    "integer": "integer",
    "bigint": "bigint",
    "number": "double precision",
    "timestamp": "timestamp with time zone",
    "text[]": "text[]",
    "json": "jsonb",
}
"""PostgreSQL's types as `format_type` writes them."""


class MigrationError(RuntimeError):
    """Migrations that cannot be applied, or a schema that does not match the contract."""


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A relation that holds a table of the contract; `extra` names a further column.

    A `strict` relation has the contract's NOT NULL columns. Staging accepts NULL everywhere: the
    expectations check it.
    """

    table: Table
    relation: str
    strict: bool = True
    extra: str | None = None


STORED_TABLES = (
    StoredTable(DIABETES_NEW, "public.diabetes_new"),
    StoredTable(STAGING_PATIENTS, "staging.patients", strict=False),
    StoredTable(SERVING_PATIENTS, "serving.patient_versions", extra="version"),
    StoredTable(SERVING_PATIENTS, "serving.patients", strict=False),
    StoredTable(PREDICTIONS, "serving.predictions"),
)


def upgrade(url: str) -> None:
    """Apply the missing migrations to the database at `url` and compare it with the contract.

    Both happen in one transaction, so that a migration that does not match the contract can be
    corrected and applied again. Raises MigrationError.
    """
    _require_order()
    config = Config()
    config.set_main_option("script_location", str(LOCATION).replace("%", "%%"))
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            require_contract(cast("Connection", connection.connection.driver_connection))
    except CommandError as error:
        raise MigrationError(
            f"{error}: this version of the platform lacks that migration. A database from before "
            "migration 0005 must be created again; any other is of a newer version"
        ) from error
    finally:
        engine.dispose()


def grant_again(url: str, roles: AbstractSet[str]) -> None:
    """Grant the rights in `GRANTS` of each migration to those of its grantees in `roles`."""
    scripts = ScriptDirectory(str(LOCATION)).walk_revisions()
    with psycopg.connect(url) as connection:
        for script in sorted(scripts, key=lambda script: script.revision):
            for privileges, objects, grantees in getattr(script.module, "GRANTS", ()):
                for role in roles & set(grantees.split(", ")):
                    connection.execute(f"GRANT {privileges} ON {objects} TO {role}".encode())
        for role in roles & {role.name for role in WAREHOUSE_ROLES}:
            statement = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}")
            database = sql.Identifier(connection.info.dbname)
            connection.execute(statement.format(database, sql.Identifier(role)))


def require_contract(connection: Connection) -> None:
    """Raise MigrationError unless each stored table has the contract's columns and types.

    The physical order of the columns does not matter: `ALTER TABLE … ADD COLUMN` appends them.
    """
    differences = [
        difference for stored in STORED_TABLES for difference in _differences(connection, stored)
    ]
    if differences:
        raise MigrationError(
            f"the warehouse does not match the contract: {'; '.join(differences)}. A new field "
            "needs a migration in diabetes_platform/warehouse/migrations/versions; a field that "
            "is stored cannot be removed or retyped"
        )


def _differences(connection: Connection, stored: StoredTable) -> list[str]:
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod)"
        " || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        (stored.relation,),
    )
    actual: dict[str, str] = {name: kind for name, kind in rows if name != stored.extra}
    expected = {
        column.name: TYPES[column.type]
        + (" NOT NULL" if stored.strict and not column.nullable else "")
        for column in stored.table.columns
    }
    missing = "no such column"
    return [
        f"{stored.relation}.{name} is {actual.get(name, missing)}, "
        f"the contract has {expected.get(name, missing)}"
        for name in sorted(actual.keys() | expected.keys())
        if actual.get(name) != expected.get(name)
    ]


def _require_order() -> None:
    """Raise MigrationError unless each migration follows the one with the previous number."""
    try:
        with warnings.catch_warnings(action="ignore"):  # they only repeat the error
            scripts = list(ScriptDirectory(str(LOCATION)).walk_revisions())
    except (RevisionError, CommandError, KeyError) as error:
        raise MigrationError(f"{LOCATION}: the migrations form no chain: {error}") from error
    previous: str | None = None
    for script in sorted(scripts, key=lambda script: script.revision):
        if script.down_revision != previous:
            raise MigrationError(
                f"{Path(script.path).name}: down_revision is {script.down_revision!r}; "
                f"allowed: {previous!r}, the previous migration"
            )
        previous = script.revision
