"""The databases that a role may log in to, and that no role may copy them physically."""

import psycopg
import pytest

from diabetes_platform.warehouse.roles import ROLES, WAREHOUSE_ROLES
from diabetes_platform_tests.provisioned import ProvisionedServer

pytestmark = pytest.mark.integration

WRONG_DATABASES = [
    *((role.name, "dagster") for role in WAREHOUSE_ROLES),
    ("dagster", "diabetes"),
    *((role.name, database) for role in ROLES for database in ("postgres", "template1")),
]


@pytest.mark.parametrize(("role", "database"), WRONG_DATABASES)
def test_a_role_reaches_its_own_database_only(
    provisioned: ProvisionedServer, role: str, database: str
) -> None:
    url = provisioned.url(role).rpartition("/")[0]
    with pytest.raises(
        psycopg.OperationalError, match=r"permission denied for database|pg_hba\.conf rejects"
    ):
        psycopg.connect(f"{url}/{database}")


@pytest.mark.parametrize("role", [*(role.name for role in ROLES), "postgres"])
def test_nobody_takes_a_physical_copy_of_every_database(
    provisioned: ProvisionedServer, role: str
) -> None:
    url = provisioned.superuser_url if role == "postgres" else provisioned.url(role)
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry for replication"):
        psycopg.connect(f"{url}?replication=true")
