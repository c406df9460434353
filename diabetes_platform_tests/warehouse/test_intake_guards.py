"""The triggers of the intake table on the real server."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import Connection
from psycopg.errors import CheckViolation, ObjectNotInPrerequisiteState

from diabetes_platform_tests.provisioned import ProvisionedServer
from diabetes_platform_tests.warehouse.test_roles import EXAMPLE, INTAKE, MEASUREMENTS

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


TIMES = """
SELECT received_at - now() AS received, outcome_recorded_at - now() AS recorded
FROM diabetes_new ORDER BY id DESC LIMIT 1
"""
INSERT = f"""
INSERT INTO public.diabetes_new ({MEASUREMENTS}, received_at, outcome, outcome_recorded_at)
VALUES ({EXAMPLE}, now() + %s::interval, 1, now() + %s::interval)
"""  # noqa: S608 - constants
UPDATE = """
UPDATE public.diabetes_new SET outcome = 1,
    received_at = now() + %s::interval, outcome_recorded_at = now() + %s::interval
"""


@pytest.mark.parametrize("statement", [INSERT, UPDATE])
@pytest.mark.parametrize(
    ("times", "stored"),
    [
        pytest.param(("0", "0"), ("0", "0"), id="now"),
        pytest.param(("-3 days", "-2 days"), ("-3 days", "-2 days"), id="in the past"),
        pytest.param(("4 minutes", "0"), ("0", "0"), id="a clock that is ahead"),
        pytest.param(("-1 day", "2 seconds"), ("-1 day", "0"), id="outcome of such a clock"),
    ],
)
def test_a_time_is_never_later_than_the_change_that_stores_it(
    superuser: Connection, statement: str, times: tuple[str, str], stored: tuple[str, str]
) -> None:
    superuser.execute(statement.encode(), times)
    expected = superuser.execute("SELECT %s::interval, %s::interval", stored).fetchone()
    assert superuser.execute(TIMES).fetchone() == expected


@pytest.mark.parametrize("statement", [INSERT, UPDATE])
@pytest.mark.parametrize("times", [("1 day", "0"), ("6 minutes", "0"), ("0", "2 years")])
def test_rejects_a_time_in_the_future(
    superuser: Connection, statement: str, times: tuple[str, str]
) -> None:
    stored = patients(superuser)
    with pytest.raises(CheckViolation, match="lies in the future"), superuser.transaction():
        superuser.execute(statement.encode(), times)
    assert patients(superuser) == stored


def test_an_outcome_and_an_emission_change_a_row_that_was_received_in_the_future(
    superuser: Connection,
) -> None:
    """Rows from before the trigger stay usable."""
    superuser.execute("ALTER TABLE diabetes_new DISABLE TRIGGER refuse_future_times")
    superuser.execute(INSERT.encode(), ("1 day", "0"))
    superuser.execute("ALTER TABLE diabetes_new ENABLE TRIGGER refuse_future_times")
    assert superuser.execute("UPDATE diabetes_new SET pregnancies = pregnancies").rowcount > 0
