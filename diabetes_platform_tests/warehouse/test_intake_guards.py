"""The trigger of the intake table on the real server."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import Connection
from psycopg.errors import ObjectNotInPrerequisiteState

from diabetes_platform_tests.provisioned import ProvisionedServer
from diabetes_platform_tests.warehouse.test_roles import INTAKE

pytestmark = pytest.mark.integration


@pytest.fixture
def superuser(provisioned: ProvisionedServer) -> Iterator[Connection]:
    """A session with one patient, rolled back at the end."""
    with psycopg.connect(provisioned.server.url("diabetes")) as connection:
        connection.execute(INTAKE)
        yield connection
        connection.rollback()


def patients(connection: Connection) -> list[tuple[int, str]]:
    """The id of each patient, and the place of its row, which each stored update changes."""
    return connection.execute("SELECT id, ctid::text FROM diabetes_new ORDER BY id").fetchall()


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE public.diabetes_new RESTART IDENTITY CASCADE",
        "TRUNCATE ONLY public.diabetes_new CASCADE",
        "TRUNCATE serving.predictions, public.diabetes_new CASCADE",
        "SET LOCAL session_replication_role = replica; TRUNCATE public.diabetes_new CASCADE",
        "SET LOCAL ROLE migrator; TRUNCATE public.diabetes_new RESTART IDENTITY CASCADE",
        "DO $$ BEGIN EXECUTE 'TRUNCATE public.diabetes_new CASCADE'; END $$",
    ],
)
def test_refuses_to_truncate_the_intake_whoever_asks(superuser: Connection, statement: str) -> None:
    stored = patients(superuser)
    assert stored
    with (
        pytest.raises(ObjectNotInPrerequisiteState, match=r"public\.diabetes_new cannot be"),
        superuser.transaction(),
    ):
        superuser.execute(statement.encode())
    assert patients(superuser) == stored
    superuser.execute(INTAKE)
    assert patients(superuser)[-1][0] > stored[-1][0], "ids do not start again"


def test_truncates_other_tables(superuser: Connection) -> None:
    superuser.execute("TRUNCATE serving.predictions, serving.intake_requests, staging.patients")
