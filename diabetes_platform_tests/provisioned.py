"""A PostgreSQL server set up like the whole platform's: logical decoding, a login per role."""

import secrets
from dataclasses import dataclass

from psycopg import Connection

from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.provisioning.warehouse import role_url, setup_warehouse
from diabetes_platform.warehouse.replication import SLOT, Slot
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

    def set_up(self) -> Slot:
        """Set up the server, again or for the first time."""
        return setup_warehouse(self.server.address, self.server.password, self.passwords)

    def url(self, role: str) -> str:
        """Return the URL of a role's own database."""
        (owner,) = [known_role for known_role in ROLES if known_role.name == role]
        return role_url(owner, self.passwords, self.server.address)


def provision(server: Postgres) -> ProvisionedServer:
    """Set up a running server with generated passwords."""
    passwords = {role.name: secrets.token_urlsafe(24) for role in ROLES}
    provisioned = ProvisionedServer(server, passwords)
    provisioned.set_up()
    return provisioned


def drop_slot(connection: Connection) -> None:
    """Drop the slot; raises psycopg.errors.ObjectInUse while a consumer reads it."""
    connection.execute("SELECT pg_drop_replication_slot(%s)", (SLOT,))
