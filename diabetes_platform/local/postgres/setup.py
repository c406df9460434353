"""Set-up of PostgreSQL: roles with passwords, databases, migrations and the replication slot.

Runs as the superuser only where necessary: migrations run as `migrator`, and `debezium` creates
its slot.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import Connection, sql

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.postgres.connection import DAGSTER_DATABASE, WAREHOUSE_DATABASE
from diabetes_platform.local.postgres.data import SUPERUSER, connection_url
from diabetes_platform.local.setup import plain_passwords, run_setup
from diabetes_platform.settings import PlatformSettings, Port, SetupSettings
from diabetes_platform.warehouse.replication import Slot, ensure_slot, slot_problem
from diabetes_platform.warehouse.roles import DAGSTER, DEBEZIUM, MIGRATOR, ROLES, Role

OWNERS: Mapping[str, Role] = {WAREHOUSE_DATABASE: MIGRATOR, DAGSTER_DATABASE: DAGSTER}
NOT_DURABLE = (DAGSTER_DATABASE,)
"""Commits to these do not wait for the disk: a crash may lose the last second."""
SLOT_TIMEOUT = "60s"
_HEARTBEAT = (
    "FUNCTION pg_catalog.pg_logical_emit_message(boolean, text, text, boolean),"
    " pg_catalog.pg_logical_emit_message(boolean, text, bytea, boolean)"
)


def setup_warehouse(
    superuser_url: str, passwords: Mapping[str, str], *, generated_passwords: bool = False
) -> Slot:
    """Set up the server at `superuser_url`, and return the replication slot.

    `passwords` has one for each of ROLES. `generated_passwords` means that they are random, so
    that their verifiers need no iterations. A second run changes only passwords. Raises
    PlatformError, except for an invalidated slot: the batch graph does not need it, and
    `slot_problem` reports it.
    """
    _require_roles(passwords)
    with _connected(superuser_url) as connection:
        for role in ROLES:
            _ensure_role(connection, role, passwords[role.name], generated=generated_passwords)
        for database, owner in OWNERS.items():
            _ensure_database(connection, database, owner)
    _migrate(role_url(superuser_url, MIGRATOR, passwords))
    with _connected(_with_database(superuser_url, WAREHOUSE_DATABASE)) as connection:
        _restrict_heartbeat_to_debezium(connection)
    with _connected(role_url(superuser_url, DEBEZIUM, passwords)) as connection:
        connection.execute(sql.SQL("SET statement_timeout = {}").format(SLOT_TIMEOUT))
        return ensure_slot(connection)


def role_url(superuser_url: str, role: Role, passwords: Mapping[str, str]) -> str:
    """Return the connection URL of `role` for its database on the same server."""
    database = DAGSTER_DATABASE if role == DAGSTER else WAREHOUSE_DATABASE
    parts = urlsplit(_with_database(superuser_url, database))
    address = parts.netloc.rpartition("@")[2]
    login = f"{role.name}:{quote(passwords[role.name], safe='')}"
    return urlunsplit(parts._replace(netloc=f"{login}@{address}"))


def _with_database(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{quote(database, safe='')}"))


def _require_roles(passwords: Mapping[str, str]) -> None:
    roles = {role.name for role in ROLES}
    with_password = {name for name, password in passwords.items() if password}
    if with_password != roles:
        raise PlatformError(
            f"passwords are set for {', '.join(sorted(with_password)) or 'no role'}; "
            f"allowed: exactly {', '.join(sorted(roles))}"
        )


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    """Yield a connection in autocommit mode; database errors become PlatformError."""
    parts = urlsplit(url)
    context = f"PostgreSQL on {parts.hostname}:{parts.port or 5432} as {parts.username}"
    with _database_errors(context), psycopg.connect(url, autocommit=True) as connection:
        yield connection


@contextmanager
def _database_errors(context: str) -> Iterator[None]:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (psycopg.Error, SQLAlchemyError) as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise PlatformError(f"{context}: {reason}") from error


def _ensure_role(connection: Connection, role: Role, password: str, *, generated: bool) -> None:
    """Let `role` log in with `password`; only its verifier is sent to the server."""
    name = sql.Identifier(role.name)
    attributes = connection.execute(
        "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls, rolreplication"
        " FROM pg_roles WHERE rolname = %s",
        (role.name,),
    ).fetchone()
    if attributes is None:
        connection.execute(sql.SQL("CREATE ROLE {}").format(name))
    privileged, replicates = attributes or (False, False)
    if privileged or (replicates and not role.replication):
        raise PlatformError(
            f"role {role.name} has too many privileges (SUPERUSER, CREATEROLE, CREATEDB, BYPASSRLS "
            f"or REPLICATION); allowed: {'REPLICATION' if role.replication else 'none'}"
        )
    if role.replication and not replicates:
        connection.execute(sql.SQL("ALTER ROLE {} REPLICATION").format(name))
    verifier = sql.Literal(_verifier(connection, role, password, generated=generated))
    connection.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(name, verifier))


def _verifier(connection: Connection, role: Role, password: str, *, generated: bool) -> str:
    # libpq reads this setting of the session. Iterations slow down every connection, and Dagster
    # opens one per event.
    iterations = "1" if generated else "DEFAULT"
    connection.execute(sql.SQL("SET scram_iterations = {}").format(sql.SQL(iterations)))
    verifier = connection.pgconn.encrypt_password(
        password.encode(), role.name.encode(), b"scram-sha-256"
    )
    return verifier.decode()


def _ensure_database(connection: Connection, name: str, owner: Role) -> None:
    database, role = sql.Identifier(name), sql.Identifier(owner.name)
    exists = "SELECT FROM pg_database WHERE datname = %s"
    if connection.execute(exists, (name,)).fetchone() is None:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
    connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, role))
    # The migrations grant CONNECT to each role.
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    if name in NOT_DURABLE:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(database)
        )


def _migrate(url: str) -> None:
    from diabetes_platform.warehouse.migrate import upgrade

    with _database_errors(f"migrations of {WAREHOUSE_DATABASE} as {MIGRATOR.name}"):
        upgrade(url)


def _restrict_heartbeat_to_debezium(connection: Connection) -> None:
    """Restrict logical messages: with them, any role could fill the WAL and reach consumers."""
    role = sql.Identifier(DEBEZIUM.name)
    functions = sql.SQL(_HEARTBEAT)
    connection.execute(sql.SQL("REVOKE EXECUTE ON {} FROM PUBLIC").format(functions))
    connection.execute(sql.SQL("GRANT EXECUTE ON {} TO {}").format(functions, role))


def _setup(settings: PlatformSettings, secrets: SetupSettings) -> str:
    password = secrets.postgres_password.get_secret_value()
    url = connection_url(SUPERUSER, password, settings.port(Port.POSTGRES), SUPERUSER)
    slot = setup_warehouse(url, plain_passwords(secrets.role_passwords), generated_passwords=True)
    return f"warehouse: {slot_problem(slot, WAREHOUSE_DATABASE) or 'up to date'}"


if __name__ == "__main__":
    sys.exit(run_setup(_setup))
