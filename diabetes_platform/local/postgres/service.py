"""PostgreSQL as a service of the local platform."""

from collections.abc import Mapping

from diabetes_platform.local.postgres.connection import superuser_password
from diabetes_platform.local.postgres.data import binary
from diabetes_platform.local.service import Environment, Service
from diabetes_platform.local.stack import Stack, role_secret
from diabetes_platform.provisioning.databases import WAREHOUSE_DATABASE
from diabetes_platform.settings import Port
from diabetes_platform.warehouse.roles import ROLES


def _environments(stack: Stack) -> Mapping[str, Environment]:
    superuser = {"POSTGRES_PASSWORD": superuser_password(stack)}
    roles = {
        f"ROLE_PASSWORDS__{role.name.upper()}": stack.secrets[role_secret(role.name)]
        for role in ROLES
    }
    server = {"PLATFORM_POSTGRES_SERVER": stack.address(Port.POSTGRES)}
    return {"postgres": superuser, "warehouse-setup": {**server, **superuser, **roles}}


def _urls(stack: Stack) -> Mapping[str, str]:
    return {"postgres": f"postgresql://{stack.address(Port.POSTGRES)}/{WAREHOUSE_DATABASE}"}


SERVICE = Service(
    "postgres",
    environments=_environments,
    urls=_urls,
    variables=lambda: {"POSTGRES_BIN": str(binary("postgres").parent)},
)
