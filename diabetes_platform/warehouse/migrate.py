"""The warehouse's migrations, run with Alembic, and the check of its schema against the contract.

A migration is one file in `migrations/versions/`: frozen SQL, which does not import the contract.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from psycopg import Connection
from sqlalchemy import create_engine, make_url

from diabetes_platform.contract.tables import (
    DIABETES_NEW,
    PREDICTIONS,
    SERVING_PATIENTS,
    STAGING_PATIENTS,
    Table,
)
from diabetes_platform.warehouse import ddl

LOCATION = Path(__file__).parent / "migrations"


class MigrationError(RuntimeError):
    """Migrations that cannot be applied, or a schema that does not match the contract."""


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A relation that holds a table of the contract; `extra` names its further columns.

    A `strict` relation has the contract's NOT NULL columns. Staging accepts NULL everywhere: the
    expectations check it.
    """

    relation: str
    table: Table
    strict: bool = True
    extra: frozenset[str] = frozenset()


STORED_TABLES = (
    StoredTable("public.diabetes_new", DIABETES_NEW),
    StoredTable("staging.patients", STAGING_PATIENTS, strict=False),
    StoredTable("serving.patient_versions", SERVING_PATIENTS, extra=frozenset({"version"})),
    StoredTable("serving.patients", SERVING_PATIENTS, strict=False),
    StoredTable("serving.predictions", PREDICTIONS),
)


def upgrade(url: str, revision: str = "head") -> None:
    """Apply the migrations up to `revision` to the database at `url`, in one transaction.

    At the newest revision the schema is compared with the contract. Raises MigrationError.
    """
    _require_order()
    _run(url, command.upgrade, revision)
    if revision == "head":
        with psycopg.connect(url) as connection:
            require_contract(connection)


def downgrade(url: str, revision: str) -> None:
    """Revert the migrations after `revision`; `base` reverts all of them and drops the patients."""
    _run(url, command.downgrade, revision)


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


def sqlalchemy_url(url: str) -> str:
    """Return a libpq URL as SQLAlchemy's URL for psycopg 3."""
    return make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _differences(connection: Connection, stored: StoredTable) -> list[str]:
    actual: dict[str, tuple[str, bool]] = {
        name: (kind, not_null)
        for name, kind, not_null in connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
            " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
            (stored.relation,),
        )
        if name not in stored.extra
    }
    expected = {
        column.name: (ddl.type_name(column), stored.strict and not column.nullable)
        for column in stored.table.columns
    }
    return [
        f"{stored.relation}.{name} is {_described(actual.get(name))}, "
        f"the contract has {_described(expected.get(name))}"
        for name in sorted(actual.keys() | expected.keys())
        if actual.get(name) != expected.get(name)
    ]


def _described(column: tuple[str, bool] | None) -> str:
    if column is None:
        return "no such column"
    kind, not_null = column
    return f"{kind} NOT NULL" if not_null else kind


def _require_order() -> None:
    """Raise MigrationError unless each migration follows the one with the previous number."""
    scripts = ScriptDirectory(str(LOCATION))
    previous: str | None = None
    try:
        with warnings.catch_warnings(action="ignore"):  # they only repeat the error
            revisions = sorted(scripts.walk_revisions(), key=lambda script: script.revision)
    except (RevisionError, CommandError, KeyError) as error:
        raise MigrationError(f"{LOCATION}: the migrations form no chain: {error}") from error
    for script in revisions:
        if script.down_revision != previous:
            raise MigrationError(
                f"{Path(script.path).name}: down_revision is {script.down_revision!r}; "
                f"allowed: {previous!r}, the previous migration"
            )
        previous = script.revision


def _run(url: str, action: Callable[[Config, str], None], revision: str) -> None:
    engine = create_engine(sqlalchemy_url(url))
    try:
        with engine.begin() as connection:
            config = Config()
            config.set_main_option("script_location", str(LOCATION).replace("%", "%%"))
            config.attributes["connection"] = connection
            action(config, revision)
    except CommandError as error:
        message = f"{error}: this version of the platform lacks that migration"
        raise MigrationError(message) from error
    finally:
        engine.dispose()
