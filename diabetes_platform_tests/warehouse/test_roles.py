"""The roles on the real server: what each may, and what it is refused."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import Connection
from psycopg.errors import InsufficientPrivilege

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.warehouse.roles import ROLES
from diabetes_platform_tests.provisioned import ProvisionedServer

pytestmark = pytest.mark.integration

MEASUREMENTS = ", ".join(field.name for field in FEATURES)
EXAMPLE = ", ".join(str(field.example) for field in FEATURES)
INTAKE = f"INSERT INTO public.diabetes_new ({MEASUREMENTS}) VALUES ({EXAMPLE})"  # noqa: S608 - constants
WAITING = "SELECT * FROM serving.waiting_patients('1 minute', 0, 10, '{}', '{}')"
EMIT = "SELECT serving.emit_again('{1}')"
EMIT_NEXT = "SELECT * FROM serving.emit_next(0, 10)"
DELETED = "SELECT * FROM serving.deleted_patients(0, 10)"
DAYS = "SELECT * FROM serving.intake_days(now(), now(), '{}', '{}')"
LABELLED = f"INSERT INTO public.diabetes_new ({MEASUREMENTS}, outcome) VALUES ({EXAMPLE}, 1)"  # noqa: S608 - constants
ANSWER = (
    "INSERT INTO serving.predictions (intake_id, source_lsn, model_version, probability, result,"
    " contributions, changed_at, captured_at, judged_at, consumed_at, scored_at)"
    " VALUES (1, 2, 'abc', 0.5, 'Normal', '{}', now(), now(), now(), now(), now())"
)
KEPT = "INSERT INTO serving.intake_requests (idempotency_key, intake_id) SELECT 'a', id FROM taken"
REQUEST = f"WITH taken AS ({INTAKE} RETURNING id) {KEPT}"
ONCE = f"{ANSWER} ON CONFLICT (intake_id, source_lsn, model_version) DO NOTHING"
HEARTBEAT = "SELECT pg_logical_emit_message(false, 'diabetes_cdc', '')"
SLOT = "SELECT pg_create_logical_replication_slot('another', 'pgoutput', true)"
VERSION = "INSERT INTO serving.promotions (action, version, batch_id, delta_version, rows, verdict)"
PROMOTION = f"{VERSION} VALUES ('promote', 1, 'a', 1, 1, '')"

POINT = (
    "INSERT INTO serving.current_version (version) VALUES (1)"
    " ON CONFLICT (singleton) DO UPDATE SET version = excluded.version"
)

ALLOWED = {
    "migrator": [
        "CREATE SCHEMA monitoring",
        "CREATE TABLE public.other (); CREATE PUBLICATION other FOR TABLE public.other",
        "ALTER TABLE public.diabetes_new ADD COLUMN other text",
        "GRANT SELECT ON serving.patient_versions TO reader",
        "SELECT FROM public.alembic_version",
    ],
    "pipeline": [
        "TRUNCATE staging.patients",
        "INSERT INTO staging.patients (record_id) VALUES ('a')",
        "SELECT FROM staging.patients, staging.batches, staging.validations",
        "LOCK TABLE staging.patients IN SHARE MODE",
        "DELETE FROM serving.patient_versions WHERE version = 0",
        POINT,
        PROMOTION,
        "SELECT FROM serving.patients, serving.promotions",
        "SELECT pg_advisory_xact_lock(1)",
        WAITING,
        DELETED,
        EMIT,
        EMIT_NEXT,
        DAYS,
    ],
    "api": [
        f"{INTAKE} RETURNING id, received_at",
        REQUEST,
        "SELECT * FROM serving.intake_requests",
        "SELECT * FROM public.diabetes_new",
        "UPDATE public.diabetes_new SET outcome = 1, outcome_recorded_at = now() WHERE id = 1",
        "SELECT * FROM serving.predictions",
        "LISTEN predictions",
    ],
    "predictor": [
        ANSWER,
        f"{ONCE} RETURNING *",
        "DELETE FROM serving.predictions WHERE intake_id = 1",
        "NOTIFY predictions, '1'",
    ],
    "debezium": ["SELECT * FROM public.diabetes_new", HEARTBEAT, SLOT],
    "reader": [
        "SELECT * FROM serving.patients",
        "SELECT * FROM serving.predictions",
        "SELECT * FROM serving.promotions",
    ],
    "dagster": ["CREATE TABLE public.runs ()", "CREATE SCHEMA other", "CREATE TEMP TABLE t ()"],
}

NOBODY = [
    "CREATE ROLE friend",
    "ALTER ROLE postgres PASSWORD 'x'",
    "SELECT pg_reload_conf()",
    "CHECKPOINT",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT pg_read_file('pg_hba.conf')",
    "SELECT rolpassword FROM pg_authid",
    "CREATE PUBLICATION everything FOR ALL TABLES",
    "SET ROLE postgres",
]
NOT_THE_OWNER = [
    "CREATE TABLE public.other ()",
    "CREATE TEMP TABLE other ()",
    "CREATE SCHEMA other",
    "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE PUBLICATION other FOR TABLE public.diabetes_new",
    "ALTER TABLE serving.promotions ADD COLUMN other text",
    "DROP VIEW serving.patients",
    "DELETE FROM public.diabetes_new",
    "TRUNCATE public.diabetes_new",
    "DELETE FROM serving.promotions",
    "UPDATE serving.promotions SET verdict = 'passed'",
    "UPDATE staging.validations SET passed = true",
    "SELECT FROM public.alembic_version",
    "SET ROLE migrator",
]
REFUSED = {
    "migrator": [HEARTBEAT, SLOT],
    "pipeline": [
        *NOT_THE_OWNER,
        "UPDATE staging.patients SET age = 30",
        "DELETE FROM staging.batches",
        "UPDATE serving.patient_versions SET age = 30",
        "TRUNCATE serving.patient_versions",
        "DELETE FROM serving.current_version",
        # What a model has said must not come back as what it learns from.
        "SELECT FROM serving.predictions",
        ANSWER,
        "SELECT FROM public.diabetes_new",
        INTAKE,
        HEARTBEAT,
        SLOT,
    ],
    "api": [
        *NOT_THE_OWNER,
        LABELLED,
        "INSERT INTO public.diabetes_new (received_at) VALUES (now())",
        "UPDATE public.diabetes_new SET glucose = 100",
        "UPDATE public.diabetes_new SET received_at = now()",
        ANSWER,
        "UPDATE serving.predictions SET probability = 0",
        "SELECT FROM serving.patients",
        "SELECT FROM serving.promotions",
        "SELECT FROM staging.patients",
        WAITING,
        DELETED,
        EMIT,
        EMIT_NEXT,
        DAYS,
        HEARTBEAT,
        SLOT,
    ],
    "predictor": [
        *NOT_THE_OWNER,
        "SELECT FROM public.diabetes_new",
        INTAKE,
        "UPDATE public.diabetes_new SET outcome = 1",
        "UPDATE serving.predictions SET probability = 0",
        "TRUNCATE serving.predictions",
        "SELECT FROM serving.patients",
        "SELECT FROM staging.patients",
        WAITING,
        DELETED,
        EMIT,
        EMIT_NEXT,
        DAYS,
        HEARTBEAT,
        SLOT,
    ],
    "debezium": [
        *NOT_THE_OWNER,
        INTAKE,
        "UPDATE public.diabetes_new SET outcome = 1",
        "SELECT FROM serving.predictions",
        "SELECT FROM serving.patients",
        "SELECT FROM staging.patients",
    ],
    "reader": [
        *NOT_THE_OWNER,
        "SELECT FROM public.diabetes_new",
        "SELECT FROM staging.patients",
        "SELECT FROM serving.patient_versions",
        ANSWER,
        "INSERT INTO serving.patients (record_id) VALUES ('a')",
        HEARTBEAT,
        SLOT,
    ],
    "dagster": [SLOT],
}


def cases(table: dict[str, list[str]]) -> list[object]:
    return [
        pytest.param(role, statement, id=f"{role}: {statement[:60]}")
        for role, statements in table.items()
        for statement in statements
    ]


@pytest.fixture(scope="module")
def sessions(provisioned: ProvisionedServer) -> Iterator[dict[str, Connection]]:
    """One session of each role in its own database."""
    opened = {role.name: psycopg.connect(provisioned.url(role.name)) for role in ROLES}
    yield opened
    for session in opened.values():
        session.close()


@pytest.mark.parametrize(("role", "statement"), cases(ALLOWED))
def test_a_role_may_do_its_work(sessions: dict[str, Connection], role: str, statement: str) -> None:
    with sessions[role].transaction(force_rollback=True):
        sessions[role].execute(statement)


@pytest.mark.parametrize(
    ("role", "statement"),
    cases({role: [*statements, *NOBODY] for role, statements in REFUSED.items()}),
)
def test_a_role_may_do_nothing_else(
    sessions: dict[str, Connection], role: str, statement: str
) -> None:
    with (
        pytest.raises(InsufficientPrivilege),
        sessions[role].transaction(force_rollback=True),
    ):
        sessions[role].execute(statement)


def test_every_role_has_a_table_of_both() -> None:
    assert set(ALLOWED) == set(REFUSED) == {role.name for role in ROLES}
