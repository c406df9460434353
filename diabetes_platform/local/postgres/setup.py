"""Sets up PostgreSQL: databases, roles with their passwords, migrations, the replication slot.

As the superuser only what needs one; the schema as `migrator`, the slot as `debezium`.
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
"""May lose its last second when the machine crashes: a commit does not wait for the disk."""
SLOT_TIMEOUT = "60s"
_HEARTBEAT = (
    "FUNCTION pg_catalog.pg_logical_emit_message(boolean, text, text, boolean),"
    " pg_catalog.pg_logical_emit_message(boolean, text, bytea, boolean)"
)


def setup_warehouse(
    superuser_url: str, passwords: Mapping[str, str], *, generated_passwords: bool = False
) -> Slot:
    """Bring the server at `superuser_url` to what the platform needs, and return the slot.

    `passwords` has one for each of ROLES. `generated_passwords` says that nobody can guess them,
    however fast a guess is checked. Doing it again changes nothing but the passwords. Raises
    PlatformError; an invalidated slot is no error here, for the batch graph does without it:
    `slot_problem` judges it.
    """
    _require_roles(passwords)
    with _connected(superuser_url) as connection:
        for role in ROLES:
            _ensure_role(connection, role, passwords[role.name], generated=generated_passwords)
        for database, owner in OWNERS.items():
            _ensure_database(connection, database, owner)
    _migrate(role_url(superuser_url, MIGRATOR, passwords))
    with _connected(_at(superuser_url, WAREHOUSE_DATABASE)) as connection:
        _leave_heartbeat_to_debezium(connection)
    with _connected(role_url(superuser_url, DEBEZIUM, passwords)) as connection:
        connection.execute(sql.SQL("SET statement_timeout = {}").format(SLOT_TIMEOUT))
        return ensure_slot(connection)


def role_url(superuser_url: str, role: Role, passwords: Mapping[str, str]) -> str:
    """Return the URL with which `role` reaches its database on the same server."""
    database = DAGSTER_DATABASE if role == DAGSTER else WAREHOUSE_DATABASE
    parts = urlsplit(_at(superuser_url, database))
    address = parts.netloc.rpartition("@")[2]
    login = f"{role.name}:{quote(passwords[role.name], safe='')}"
    return urlunsplit(parts._replace(netloc=f"{login}@{address}"))


def _at(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{quote(database, safe='')}"))


def _require_roles(passwords: Mapping[str, str]) -> None:
    wanted = {role.name for role in ROLES}
    given = {name for name, password in passwords.items() if password}
    if given != wanted:
        raise PlatformError(
            f"passwords of roles: given {', '.join(sorted(given)) or 'none'}, "
            f"allowed one for each of {', '.join(sorted(wanted))}"
        )


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    """Yield a connection without transactions; what the server refuses becomes PlatformError."""
    parts = urlsplit(url)
    who = f"PostgreSQL on {parts.hostname}:{parts.port or 5432} as {parts.username}"
    with _told(who), psycopg.connect(url, autocommit=True) as connection:
        yield connection


@contextmanager
def _told(who: str) -> Iterator[None]:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (psycopg.Error, SQLAlchemyError) as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise PlatformError(f"{who}: {reason}") from error


def _ensure_role(connection: Connection, role: Role, password: str, *, generated: bool) -> None:
    """Let `role` log in with `password`, of which only the verifier is sent."""
    name = sql.Identifier(role.name)
    found = connection.execute(
        "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls, rolreplication"
        " FROM pg_roles WHERE rolname = %s",
        (role.name,),
    ).fetchone()
    if found is None:
        connection.execute(sql.SQL("CREATE ROLE {}").format(name))
    privileged, replicates = found or (False, False)
    if privileged or (replicates and not role.replication):
        raise PlatformError(
            f"role {role.name} may do more than it should: given SUPERUSER, CREATEROLE, CREATEDB, "
            f"BYPASSRLS or REPLICATION, allowed {'REPLICATION' if role.replication else 'none'}"
        )
    if role.replication and not replicates:
        connection.execute(sql.SQL("ALTER ROLE {} REPLICATION").format(name))
    verifier = sql.Literal(_verifier(connection, role, password, generated=generated))
    connection.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(name, verifier))


def _verifier(connection: Connection, role: Role, password: str, *, generated: bool) -> str:
    # libpq asks the session for the iterations. Dagster opens a connection for each event.
    iterations = "1" if generated else "DEFAULT"
    connection.execute(sql.SQL("SET scram_iterations = {}").format(sql.SQL(iterations)))
    made = connection.pgconn.encrypt_password(
        password.encode(), role.name.encode(), b"scram-sha-256"
    )
    return made.decode()


def _ensure_database(connection: Connection, name: str, owner: Role) -> None:
    database, role = sql.Identifier(name), sql.Identifier(owner.name)
    exists = "SELECT FROM pg_database WHERE datname = %s"
    if connection.execute(exists, (name,)).fetchone() is None:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
    connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, role))
    # Each role gets its right to connect from the migrations.
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    if name in NOT_DURABLE:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(database)
        )


def _migrate(url: str) -> None:
    from diabetes_platform.warehouse.migrate import upgrade

    with _told(f"migrations of {WAREHOUSE_DATABASE} as {MIGRATOR.name}"):
        upgrade(url)


def _leave_heartbeat_to_debezium(connection: Connection) -> None:
    """Whoever may write messages into the log could fill it, and be read by the consumer."""
    role = sql.Identifier(DEBEZIUM.name)
    functions = sql.SQL(_HEARTBEAT)
    connection.execute(sql.SQL("REVOKE EXECUTE ON {} FROM PUBLIC").format(functions))
    connection.execute(sql.SQL("GRANT EXECUTE ON {} TO {}").format(functions, role))


def _setup(settings: PlatformSettings, given: SetupSettings) -> str:
    password = given.postgres_password.get_secret_value()
    url = connection_url(SUPERUSER, password, settings.port(Port.POSTGRES), SUPERUSER)
    slot = setup_warehouse(url, plain_passwords(given.role_passwords), generated_passwords=True)
    return f"warehouse: {slot_problem(slot, WAREHOUSE_DATABASE) or 'as it should be'}"


if __name__ == "__main__":
    sys.exit(run_setup(_setup))
