"""Set-up of PostgreSQL: roles with passwords, databases, migrations and the replication slot.

Runs as the superuser only where necessary: migrations run as `migrator`, and `debezium` creates
its slot.
"""

import sys
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import psycopg
from psycopg import Connection, sql

from diabetes_platform.errors import PlatformError
from diabetes_platform.provisioning.command import plain_passwords, run_setup
from diabetes_platform.provisioning.databases import (
    DAGSTER_DATABASE,
    SUPERUSER,
    WAREHOUSE_DATABASE,
    connection_url,
)
from diabetes_platform.provisioning.sessions import connected, ensure_database
from diabetes_platform.settings import PlatformSettings, SetupSettings
from diabetes_platform.warehouse.replication import Slot, ensure_slot, slot_problem
from diabetes_platform.warehouse.roles import DAGSTER, DEBEZIUM, MIGRATOR, ROLES, Role

OWNERS: Mapping[str, Role] = {WAREHOUSE_DATABASE: MIGRATOR, DAGSTER_DATABASE: DAGSTER}
NOT_DURABLE = (DAGSTER_DATABASE,)
"""Commits to these do not wait for the disk: a crash may lose the last second."""
_HEARTBEAT = (
    "FUNCTION pg_catalog.pg_logical_emit_message(boolean, text, text, boolean),"
    " pg_catalog.pg_logical_emit_message(boolean, text, bytea, boolean)"
)


def setup_warehouse(server: str, superuser_password: str, passwords: Mapping[str, str]) -> Slot:
    """Set up `server` (`host:port`), and return the replication slot.

    `passwords` has a generated one for each of ROLES. A second run changes only passwords. Raises
    PlatformError, except for an invalidated slot: the batch graph does not need it, and
    `slot_problem` reports it.
    """
    _require_roles(passwords)
    with connected(connection_url(SUPERUSER, superuser_password, server, SUPERUSER)) as connection:
        created = {
            role.name for role in ROLES if _ensure_role(connection, role, passwords[role.name])
        }
        for database, owner in OWNERS.items():
            _ensure_database(connection, database, owner)
    _migrate(role_url(MIGRATOR, passwords, server), created)
    warehouse_url = connection_url(SUPERUSER, superuser_password, server, WAREHOUSE_DATABASE)
    with connected(warehouse_url) as connection:
        _restrict_heartbeat_to_debezium(connection)
    with connected(role_url(DEBEZIUM, passwords, server)) as connection:
        connection.execute("SET statement_timeout = '60s'")
        return ensure_slot(connection)


def role_url(role: Role, passwords: Mapping[str, str], server: str) -> str:
    """Return the connection URL of `role` for its database."""
    database = DAGSTER_DATABASE if role == DAGSTER else WAREHOUSE_DATABASE
    return connection_url(role.name, passwords[role.name], server, database)


def _require_roles(passwords: Mapping[str, str]) -> None:
    roles = {role.name for role in ROLES}
    with_password = {name for name, password in passwords.items() if password}
    if with_password != roles:
        raise PlatformError(
            f"passwords are set for {', '.join(sorted(with_password)) or 'no role'}; "
            f"allowed: exactly {', '.join(sorted(roles))}"
        )


def _ensure_role(connection: Connection, role: Role, password: str) -> bool:
    """Let `role` log in with `password`, and return whether it was missing.

    Only the password's verifier is sent to the server.
    """
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
    # libpq reads this setting of the session. Iterations slow down every connection, Dagster opens
    # one per event, and nobody can guess a generated password.
    connection.execute("SET scram_iterations = 1")
    verifier = connection.pgconn.encrypt_password(
        password.encode(), role.name.encode(), b"scram-sha-256"
    )
    login = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
    connection.execute(login.format(name, sql.Literal(verifier.decode())))
    return attributes is None


def _ensure_database(connection: Connection, name: str, owner: Role) -> None:
    ensure_database(connection, name, durable=name not in NOT_DURABLE)
    database, role = sql.Identifier(name), sql.Identifier(owner.name)
    connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, role))
    # The migrations grant CONNECT to each role.
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))


def _migrate(url: str, created_roles: AbstractSet[str]) -> None:
    from sqlalchemy.exc import SQLAlchemyError

    from diabetes_platform.warehouse.migrate import grant_again, upgrade

    try:
        upgrade(url)
        # A role that was dropped has lost its rights, and no migration runs twice.
        grant_again(url, created_roles)
    except (psycopg.Error, SQLAlchemyError) as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        context = f"migrations of {WAREHOUSE_DATABASE} as {MIGRATOR.name}"
        raise PlatformError(f"{context}: {reason}") from error


def _restrict_heartbeat_to_debezium(connection: Connection) -> None:
    """Restrict logical messages: with them, any role could fill the WAL and reach consumers."""
    role = sql.Identifier(DEBEZIUM.name)
    functions = sql.SQL(_HEARTBEAT)
    connection.execute(sql.SQL("REVOKE EXECUTE ON {} FROM PUBLIC").format(functions))
    connection.execute(sql.SQL("GRANT EXECUTE ON {} TO {}").format(functions, role))


def _setup(settings: PlatformSettings, secrets: SetupSettings) -> str:
    password = secrets.postgres_password.get_secret_value()
    roles = plain_passwords(secrets.role_passwords)
    slot = setup_warehouse(settings.require("postgres_server"), password, roles)
    return f"warehouse: {slot_problem(slot, WAREHOUSE_DATABASE) or 'up to date'}"


if __name__ == "__main__":
    sys.exit(run_setup(_setup))
