"""Explanations of capture failures: Java traces and PostgreSQL errors as one line each."""

import dataclasses

import pytest

from diabetes_platform.provisioning.connector_failures import (
    explain,
    reader_problem,
    root_cause,
    table_problem,
)
from diabetes_platform.warehouse.replication import Slot

IN_DEBEZIUM = "\tat io.debezium.pipeline.ErrorHandler.setProducerThrowable(ErrorHandler.java:67)\n"
STOPPED = (
    "org.apache.kafka.connect.errors.ConnectException: An exception occurred in the change event "
    f"producer. This connector will be stopped.\n{IN_DEBEZIUM}"
)
INVALID_CONFIGURATION = (
    "Connector configuration is invalid and contains the following 1 error(s):\n{}\nYou can also "
    "find the above list of errors at the endpoint `/connector-plugins/{{connectorType}}/config/"
    "validate`"
)


def trace(*causes: str) -> str:
    """Return a failed task's trace as Connect stores it: the outermost exception first."""
    return STOPPED + "".join(f"Caused by: {cause}\n{IN_DEBEZIUM}" for cause in causes)


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (
            trace(
                "io.debezium.DebeziumException: Failed to start replication stream at LSN{0/86}",
                'org.postgresql.util.PSQLException: ERROR: replication slot "diabetes_slot" is '
                "active for PID 13332",
            ),
            'ERROR: replication slot "diabetes_slot" is active for PID 13332',
        ),
        (
            STOPPED,
            "An exception occurred in the change event producer. This connector will be stopped.",
        ),
        (
            INVALID_CONFIGURATION.format(
                'Error while validating connector config: FATAL: role "x" is unknown'
            ),
            'Error while validating connector config: FATAL: role "x" is unknown',
        ),
        ("java.lang.OutOfMemoryError: Java heap space\n", "Java heap space"),
        (
            "java.lang.NullPointerException\n\tat x.Y.z(Y.java:1)\n",
            "java.lang.NullPointerException",
        ),
        ("HTTP 500", "HTTP 500"),
        ("", "no message"),
    ],
)
def test_finds_the_root_cause(message: str, cause: str) -> None:
    assert root_cause(message) == cause


@pytest.mark.parametrize(
    ("message", "explanation"),
    [
        (
            INVALID_CONFIGURATION.format(
                "Error while validating connector config: FATAL: password authentication failed "
                'for user "debezium"'
            ),
            "PostgreSQL rejects the connector's password: `make down` and `make up`",
        ),
        (
            trace(
                "org.apache.kafka.connect.errors.ConnectException: Publication autocreation is "
                "disabled, please create one and restart the connector."
            ),
            "the publication is missing, which a migration creates: `make down` and `make up`",
        ),
        (
            trace('org.postgresql.util.PSQLException: ERROR: publication "p" does not exist'),
            "the publication is missing",
        ),
        (
            trace(
                'org.postgresql.util.PSQLException: ERROR: replication slot "diabetes_slot" is '
                "active for PID 7"
            ),
            "the replication slot diabetes_slot is held by another program (ERROR: ",
        ),
        (
            trace(
                "org.postgresql.util.PSQLException: ERROR: can no longer get changes from "
                'replication slot "diabetes_slot"'
            ),
            "the replication slot diabetes_slot was lost: docs/operations.md",
        ),
        (
            trace(
                "io.debezium.DebeziumException: The connector is trying to read change stream "
                "starting at PostgresOffsetContext [x], but this is no longer available on the "
                "server. Reconfigure the connector to use a snapshot mode when needed."
            ),
            "the replication slot diabetes_slot was lost",
        ),
        (
            trace(
                "org.postgresql.util.PSQLException: ERROR: permission denied for table diabetes_new"
            ),
            "the connector's role lacks a privilege",
        ),
        (
            trace(
                "org.postgresql.util.PSQLException: FATAL: permission denied to start WAL sender"
            ),
            "the connector's role lacks REPLICATION",
        ),
        (
            trace(
                "org.postgresql.util.PSQLException: Connection to 127.0.0.1:5433 refused. Check "
                "that the hostname and port are correct"
            ),
            "PostgreSQL does not answer: see `diabetes logs postgres`",
        ),
        (
            trace(
                "org.apache.kafka.common.errors.TimeoutException: Topic diabetes_cdc.public.x not "
                "present in metadata after 60000 ms."
            ),
            "a topic of infra/kafka/topics.yaml is missing",
        ),
        (
            trace("java.lang.IllegalStateException: something new"),
            "something new: see `diabetes logs connect`",
        ),
    ],
)
def test_explains_a_failure_in_one_line_with_a_remedy(message: str, explanation: str) -> None:
    line = explain(message)
    assert line.startswith(explanation)
    assert len(line.splitlines()) == 1


CONFIG = {
    "database.user": "debezium",
    "publication.name": "diabetes_publication",
    "table.include.list": "public.diabetes_new",
}
EXISTING = {"public.diabetes_new": True, "public.busy": False, "staging.patients": False}
PUBLISHED = ["public.diabetes_new"]


@pytest.mark.parametrize(
    "include",
    ["public.diabetes_new", "PUBLIC.diabetes_new", r"public\.diabetes_.*", " public.diabetes_new "],
)
def test_accepts_existing_and_published_tables(include: str) -> None:
    assert table_problem(CONFIG | {"table.include.list": include}, EXISTING, PUBLISHED) is None


@pytest.mark.parametrize(
    "include", ["public.diabetes_old", "public.diabetes_new,public.diabetes", "public.("]
)
def test_reports_a_missing_table(include: str) -> None:
    table = include.rpartition(",")[2]
    assert table_problem(CONFIG | {"table.include.list": include}, EXISTING, PUBLISHED) == (
        f"diabetes-cdc: table {table} in table.include.list of infra/debezium/diabetes-cdc.json "
        "does not exist; published tables: public.diabetes_new"
    )


@pytest.mark.parametrize(
    ("include", "published", "tables"),
    [
        ("staging.patients", PUBLISHED, "public.diabetes_new"),
        ("public.diabetes_new", [], "no table"),
    ],
)
def test_reports_a_table_that_is_not_published(
    include: str, published: list[str], tables: str
) -> None:
    assert table_problem(CONFIG | {"table.include.list": include}, EXISTING, published) == (
        f"diabetes-cdc: table {include} is not in the publication diabetes_publication, which a "
        f"migration creates, so its changes would be missing; the publication has {tables}"
    )


def test_reports_a_table_that_the_role_may_not_read() -> None:
    config = CONFIG | {"table.include.list": "public.busy"}
    assert table_problem(config, EXISTING, ["public.busy"]) == (
        "diabetes-cdc: role debezium may not read table public.busy, which a migration grants: "
        "`make down` and `make up` set it up again"
    )


FREE = Slot("pgoutput", "diabetes", "reserved", None, 0, 0, None, None, None)


def slot_of(holder: str | None, user: str | None) -> Slot:
    return dataclasses.replace(FREE, holder_pid=4711, holder=holder, holder_user=user)


@pytest.mark.parametrize("slot", [None, FREE, slot_of("Debezium Streaming", "debezium")])
def test_accepts_debezium_or_nobody_as_reader(slot: Slot | None) -> None:
    assert reader_problem(slot) is None


@pytest.mark.parametrize(
    ("slot", "reader"),
    [
        (
            slot_of("pg_recvlogical", "debezium"),
            "pg_recvlogical as debezium (PostgreSQL's pid 4711)",
        ),
        (slot_of(None, None), "an unnamed program as another role (PostgreSQL's pid 4711)"),
    ],
)
def test_reports_another_reader_of_the_slot(slot: Slot, reader: str) -> None:
    assert reader_problem(slot) == (
        f"replication slot diabetes_slot is held by {reader}: stop that program; the connector "
        "retries automatically"
    )
