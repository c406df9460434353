"""The canary patient: its marks in the intake table, and the stage that it did not pass."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import Connection

from diabetes_platform.local.connect.canary import canary, missing_stage
from diabetes_platform_tests.provisioned import ProvisionedServer
from diabetes_platform_tests.warehouse.test_roles import INTAKE

IDS = "SELECT (SELECT array_agg(id) FROM diabetes_new), array_agg(intake_id) FROM serving.canaries"


@pytest.fixture
def url(provisioned: ProvisionedServer) -> str:
    return provisioned.server.url("diabetes")


@pytest.fixture
def superuser(url: str) -> Iterator[Connection]:
    """A session on a warehouse with one ordinary patient only, which is deleted at the end."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM diabetes_new")
        connection.execute(INTAKE)
        yield connection
        connection.execute("DELETE FROM diabetes_new")


def stored(superuser: Connection) -> tuple[int, list[int] | None]:
    """The number of patients, and the canaries among them."""
    patients, canaries = superuser.execute(IDS).fetchone() or ([], [])
    return len(patients), canaries


@pytest.mark.integration
def test_a_canary_is_marked_while_it_exists(superuser: Connection, url: str) -> None:
    with canary(url) as (patient_id, _):
        assert stored(superuser) == (2, [patient_id])
    assert stored(superuser) == (1, None)


@pytest.mark.integration
def test_a_broken_connection_leaves_no_canary_and_hides_no_error(
    superuser: Connection, url: str
) -> None:
    def lose_connection() -> None:
        with canary(url) as (_, connection):
            terminate = "SELECT pg_terminate_backend(%s, 5000)"
            superuser.execute(terminate, (connection.info.backend_pid,))
            connection.execute("SELECT")

    with pytest.raises(psycopg.OperationalError, match="terminating connection"):
        lose_connection()
    assert stored(superuser) == (1, None)


@pytest.mark.integration
def test_the_next_canary_deletes_one_that_was_left(superuser: Connection, url: str) -> None:
    with canary(url) as (_, first):
        # It is older than the other run of `diabetes doctor` could be.
        first.execute(
            "UPDATE diabetes_new SET received_at = now() - interval '6 minutes'"
            " WHERE id IN (SELECT intake_id FROM serving.canaries)"
        )
        with canary(url) as (second_id, _):
            assert stored(superuser) == (2, [second_id])
            with canary(url) as (third_id, _):
                assert stored(superuser) == (3, [second_id, third_id])
    assert stored(superuser) == (1, None)


@pytest.mark.parametrize(
    ("captured", "validated", "stage"),
    [
        (False, False, "change data capture does not work"),
        (True, False, "the stream job has written no image"),
        (True, True, "the predictor has stored nothing"),
        # Compaction or retention may have removed the change.
        (False, True, "the predictor has stored nothing"),
    ],
)
def test_names_the_stage_that_a_patient_did_not_pass(
    captured: bool, validated: bool, stage: str
) -> None:
    assert stage in missing_stage(captured, validated)
