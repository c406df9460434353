"""Set-up of PostgreSQL: roles, databases and the slot, and a second run without effect."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import Connection

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.provisioning.warehouse import role_url, setup_warehouse
from diabetes_platform.warehouse.replication import SLOT
from diabetes_platform.warehouse.roles import DAGSTER, DEBEZIUM, PIPELINE, ROLES, Role
from diabetes_platform_tests.provisioned import CAPTURE, ProvisionedServer, drop_slot

AWKWARD = {role.name: f"p@ss/'{role.name}:%\\" for role in ROLES}
"""Passwords with the special characters of URLs and SQL statements."""


@pytest.mark.parametrize(
    ("role", "url"),
    [
        (PIPELINE, "postgresql://pipeline:p%40ss%2F%27pipeline%3A%25%5C@127.0.0.1:5433/diabetes"),
        (DAGSTER, "postgresql://dagster:p%40ss%2F%27dagster%3A%25%5C@127.0.0.1:5433/dagster"),
    ],
)
def test_a_role_url_has_the_password_and_database_of_the_role(role: Role, url: str) -> None:
    assert role_url(role, AWKWARD, "127.0.0.1:5433") == url


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"reader": ""}, "api, dagster, debezium, migrator, pipeline, predictor"),
        ({"root": "x"}, "api, dagster, debezium, migrator, pipeline, predictor, reader, root"),
    ],
)
def test_rejects_missing_passwords_and_unknown_roles(changed: dict[str, str], names: str) -> None:
    with pytest.raises(PlatformError, match=f"are set for {names}; allowed: exactly api, dagster"):
        setup_warehouse("127.0.0.1:1", "secret", AWKWARD | changed)


@pytest.fixture
def admin(provisioned: ProvisionedServer) -> Iterator[Connection]:
    """A superuser's session on a server after the set-up."""
    with psycopg.connect(provisioned.superuser_url, autocommit=True) as connection:
        yield connection


def state(provisioned: ProvisionedServer) -> list[tuple[object, ...]]:
    """Return the result of the set-up, without passwords."""
    roles = """
        SELECT rolname, rolcanlogin, rolsuper, rolreplication, rolcreaterole, rolcreatedb,
            rolbypassrls FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1
    """
    databases = """
        SELECT datname, datdba::regrole::text, datacl::text, setconfig FROM pg_database
        LEFT JOIN pg_db_role_setting ON setdatabase = pg_database.oid WHERE datname !~ '^t'
        ORDER BY 1
    """
    slots = "SELECT slot_name, plugin, database, restart_lsn FROM pg_replication_slots"
    owners = """
        SELECT oid::regclass::text, relowner::regrole::text, relacl::text FROM pg_class
        WHERE relnamespace::regnamespace::text IN ('public', 'staging', 'serving') ORDER BY 1
    """
    with psycopg.connect(provisioned.server.url("diabetes")) as connection:
        return [
            row
            for query in (roles, databases, slots, owners)
            for row in connection.execute(query).fetchall()
        ]


@pytest.mark.integration
def test_a_second_run_changes_nothing_and_all_passwords_work(
    provisioned: ProvisionedServer,
) -> None:
    initial = state(provisioned)
    assert len(initial) > len(ROLES)
    slot = provisioned.set_up()
    assert state(provisioned) == initial
    assert (slot.plugin, slot.database, slot.wal_status) == ("pgoutput", "diabetes", "reserved")
    for role in ROLES:
        psycopg.connect(provisioned.url(role.name)).close()


@pytest.mark.integration
@pytest.mark.parametrize("role", ["pipeline", "api", "predictor", "debezium", "reader"])
def test_a_dropped_role_has_its_rights_again(provisioned: ProvisionedServer, role: str) -> None:
    def rights() -> set[tuple[object, ...]]:
        query = """
            SELECT oid::regclass::text, attname, acl.privilege_type FROM pg_class
            JOIN pg_attribute ON attrelid = oid, aclexplode(attacl) AS acl
            WHERE acl.grantee::regrole::text = %(role)s
            UNION SELECT oid::regclass::text, '', acl.privilege_type FROM pg_class,
            aclexplode(relacl) AS acl WHERE acl.grantee::regrole::text = %(role)s
            UNION SELECT nspname::text, '', acl.privilege_type FROM pg_namespace,
            aclexplode(nspacl) AS acl WHERE acl.grantee::regrole::text = %(role)s
            UNION SELECT datname::text, '', acl.privilege_type FROM pg_database,
            aclexplode(datacl) AS acl WHERE acl.grantee::regrole::text = %(role)s
            UNION SELECT oid::regprocedure::text, '', acl.privilege_type FROM pg_proc,
            aclexplode(proacl) AS acl WHERE acl.grantee::regrole::text = %(role)s
        """
        with psycopg.connect(provisioned.server.url("diabetes")) as connection:
            return set(connection.execute(query, {"role": role}).fetchall())

    initial = rights()
    assert len(initial) > 2
    with psycopg.connect(provisioned.server.url("diabetes"), autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {role}".encode())
        connection.execute(f"DROP ROLE {role}".encode())
    provisioned.set_up()
    assert rights() == initial
    psycopg.connect(provisioned.url(role)).close()


@pytest.mark.integration
def test_databases_have_their_owners(admin: Connection) -> None:
    owners = admin.execute(
        "SELECT datname, datdba::regrole::text FROM pg_database"
        " WHERE datname IN ('diabetes', 'dagster') ORDER BY 1"
    ).fetchall()
    assert owners == [("dagster", "dagster"), ("diabetes", "migrator")]


@pytest.mark.integration
def test_reports_a_server_without_logical_decoding_and_makes_only_dagsters_database_asynchronous(
    tmp_path: Path,
) -> None:
    data_dir, port = tmp_path / "data", free_port()
    with (
        Postgres(data_dir, port, "secret") as server,
        pytest.raises(PlatformError, match=rf':{port} as debezium: replication slots .*"wal_level'),
    ):
        setup_warehouse(server.address, "secret", AWKWARD)
    with Postgres(data_dir, port, "secret", settings=CAPTURE) as server:
        setup_warehouse(server.address, "secret", AWKWARD)
        for role, setting in ((DAGSTER, "off"), (PIPELINE, "on")):
            url = role_url(role, AWKWARD, server.address)
            with psycopg.connect(url) as connection:
                assert connection.execute("SHOW synchronous_commit").fetchone() == (setting,)


@pytest.mark.integration
def test_changes_a_password_without_logging_it(
    provisioned: ProvisionedServer, admin: Connection
) -> None:
    changed = AWKWARD
    admin.execute("ALTER SYSTEM SET log_statement = 'all'")
    admin.execute("SELECT pg_reload_conf()")
    try:
        setup_warehouse(provisioned.server.address, provisioned.server.password, changed)
        psycopg.connect(role_url(PIPELINE, changed, provisioned.server.address)).close()
        verifiers = admin.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname = ANY(%s)",
            ([role.name for role in ROLES],),
        ).fetchall()
    finally:
        admin.execute("ALTER SYSTEM RESET ALL")
        admin.execute("SELECT pg_reload_conf()")
        provisioned.set_up()
    assert {verifier.split(":")[0] for (verifier,) in verifiers} == {"SCRAM-SHA-256$1"}
    log = provisioned.server.log.read_text()
    assert "ALTER ROLE" in log
    assert "p@ss" not in log


@pytest.mark.integration
@pytest.mark.parametrize(
    ("role", "right", "allowed"),
    [
        ("reader", "SUPERUSER", "none"),
        ("api", "REPLICATION", "none"),
        ("pipeline", "CREATEROLE", "none"),
        ("debezium", "BYPASSRLS", "REPLICATION"),
    ],
)
def test_rejects_a_role_with_too_many_privileges(
    provisioned: ProvisionedServer, admin: Connection, role: str, right: str, allowed: str
) -> None:
    admin.execute(f"ALTER ROLE {role} {right}")
    try:
        with pytest.raises(
            PlatformError, match=rf"role {role} has too many .* allowed: {allowed}$"
        ):
            provisioned.set_up()
    finally:
        admin.execute(f"ALTER ROLE {role} NO{right}")


@pytest.mark.integration
def test_enables_the_login_of_an_existing_role(
    provisioned: ProvisionedServer, admin: Connection
) -> None:
    admin.execute("ALTER ROLE debezium NOLOGIN NOREPLICATION PASSWORD NULL")
    provisioned.set_up()
    with psycopg.connect(provisioned.url(DEBEZIUM.name)) as connection:
        row = connection.execute(
            "SELECT rolreplication FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row == (True,)


@pytest.mark.integration
def test_creates_a_dropped_slot_again(provisioned: ProvisionedServer, admin: Connection) -> None:
    drop_slot(admin)
    slot = provisioned.set_up()
    assert slot.wal_status == "reserved"
    slots = admin.execute("SELECT slot_name FROM pg_replication_slots").fetchall()
    assert slots == [(SLOT,)]


@pytest.mark.integration
def test_reports_a_login_error_in_one_line_without_the_password(
    provisioned: ProvisionedServer,
) -> None:
    with pytest.raises(PlatformError) as raised:
        setup_warehouse(provisioned.server.address, "wr0ng", provisioned.passwords)
    line = str(raised.value)
    assert line.startswith(f"PostgreSQL on 127.0.0.1:{provisioned.server.port} as postgres: ")
    assert 'password authentication failed for user "postgres"' in line
    assert "\n" not in line
    assert "wr0ng" not in line
