"""A PostgreSQL server set up like the whole platform's: logical decoding, a login per role."""

import secrets
from dataclasses import dataclass

from psycopg import Connection

from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.local.postgres.setup import role_url, setup_warehouse
from diabetes_platform.warehouse.replication import SLOT
from diabetes_platform.warehouse.roles import ROLES

CAPTURE = {"wal_level": "logical", "max_wal_senders": "4"}
"""Settings that the demo's server does not need."""


@dataclass(frozen=True)
class ProvisionedServer:
    """A running server after `setup_warehouse`, and the passwords of its roles."""

    server: Postgres
    passwords: dict[str, str]

    @property
    def superuser_url(self) -> str:
        return self.server.url("postgres")

    def url(self, role: str) -> str:
        """Return the URL of a role's own database."""
        (owner,) = [known_role for known_role in ROLES if known_role.name == role]
        return role_url(self.superuser_url, owner, self.passwords)


def provision(server: Postgres) -> ProvisionedServer:
    """Set up a running server with generated passwords."""
    passwords = {role.name: secrets.token_urlsafe(24) for role in ROLES}
    setup_warehouse(server.url("postgres"), passwords, generated_passwords=True)
    return ProvisionedServer(server, passwords)


def drop_slot(connection: Connection) -> None:
    """Drop the slot; raises psycopg.errors.ObjectInUse while a consumer reads it."""
    connection.execute("SELECT pg_drop_replication_slot(%s)", (SLOT,))
