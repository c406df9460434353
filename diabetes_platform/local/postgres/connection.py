"""The URLs with which roles reach the databases of the platform."""

from diabetes_platform.local.secrets import POSTGRES
from diabetes_platform.local.stack import Stack, role_secret
from diabetes_platform.provisioning.databases import SUPERUSER, connection_url
from diabetes_platform.settings import Port


def database_url(stack: Stack, role: str, database: str) -> str:
    """Return the connection URL of a role, password included."""
    password = superuser_password(stack) if role == SUPERUSER else stack.secrets[role_secret(role)]
    return connection_url(role, password, stack.address(Port.POSTGRES), database)


def superuser_password(stack: Stack) -> str:
    """Return the password in PLATFORM_WAREHOUSE_PASSWORD, or else the generated one."""
    configured = stack.base_settings.warehouse_password
    return stack.secrets[POSTGRES] if configured is None else configured.get_secret_value()
