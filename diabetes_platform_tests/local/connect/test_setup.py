"""Set-up of the connector on a real Connect: idempotence, recovery, and errors by name."""

import json
import subprocess

import pytest
from psycopg import Connection
from psycopg.errors import ObjectInUse

from diabetes_platform.clients.connect import ConnectApi, connector_state
from diabetes_platform.clients.errors import ServiceError
from diabetes_platform.contract.topics import CDC_TOPIC, CONNECTOR
from diabetes_platform.local.connect.setup import read_config, setup_connector
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.kafka.setup import read_topics
from diabetes_platform.local.postgres.data import binary
from diabetes_platform.polling import wait_until
from diabetes_platform.warehouse.replication import (
    PUBLICATION,
    SLOT,
    ensure_slot,
    read_slot,
)
from diabetes_platform_tests.capture import Connect
from diabetes_platform_tests.local.connect.conftest import WriteConfig, insert, set_up
from diabetes_platform_tests.provisioned import drop_slot

pytestmark = pytest.mark.integration


def slot_is_read(intake: Connection) -> bool:
    slot = read_slot(intake)
    return slot is not None and slot.held_by is not None


def slot_is_dropped(intake: Connection) -> bool:
    """Drop the slot; returns False while a task still reads it."""
    try:
        drop_slot(intake)
    except ObjectInUse:
        return False
    return True


def test_a_second_set_up_changes_nothing(capturing: Connect) -> None:
    ends = capturing.kafka.ends("connect-configs")
    state, changed = set_up(capturing)
    assert (changed, str(state)) == (False, "RUNNING, task RUNNING")
    assert capturing.kafka.ends("connect-configs") == ends
    assert connector_state(capturing.url, CONNECTOR) == state


def test_applies_a_changed_file(capturing: Connect, write_config: WriteConfig) -> None:
    _, changed = set_up(capturing, write_config(poll_interval_ms="20"))
    assert changed
    api = ConnectApi(capturing.url)
    config = api.config(CONNECTOR)
    assert config is not None
    assert config["poll.interval.ms"] == "20"
    _, changed = set_up(capturing)
    assert changed


def test_resumes_a_stopped_connector(capturing: Connect) -> None:
    api = ConnectApi(capturing.url)
    api.stop(CONNECTOR)
    wait_until(lambda: api.state(CONNECTOR).connector == "STOPPED", timeout=30)
    assert set_up(capturing)[0].running


def test_reports_a_missing_table_although_debezium_would_run(
    capturing: Connect, write_config: WriteConfig
) -> None:
    with pytest.raises(PlatformError, match=r"table public\.diabetes_old .* does not exist"):
        set_up(capturing, write_config(table_include_list="public.diabetes_old"))
    assert connector_state(capturing.url, CONNECTOR).running


def test_reports_a_table_that_is_not_published(
    capturing: Connect, write_config: WriteConfig
) -> None:
    with pytest.raises(PlatformError, match=r"table staging\.patients is not in the publication"):
        set_up(capturing, write_config(table_include_list="staging.patients"))


def test_reports_a_missing_publication(capturing: Connect, write_config: WriteConfig) -> None:
    with pytest.raises(PlatformError, match="is not in the publication no_publication"):
        set_up(capturing, write_config(publication_name="no_publication"))


def test_reports_a_wrong_password_without_showing_it(
    capturing: Connect, write_config: WriteConfig
) -> None:
    with pytest.raises(PlatformError) as raised:
        set_up(capturing, write_config(database_password="sesame"))
    assert "PostgreSQL rejects the connector's password" in str(raised.value)
    assert "sesame" not in str(raised.value)
    assert connector_state(capturing.url, CONNECTOR).running


def test_does_not_resolve_variables_that_are_not_allowed(
    capturing: Connect, write_config: WriteConfig
) -> None:
    with pytest.raises(PlatformError, match=r'authentication failed for user "\$\{env:PATH\}"'):
        set_up(capturing, write_config(database_user="${env:PATH}"))


def test_restarts_a_failed_task(capturing: Connect, intake: Connection) -> None:
    api = ConnectApi(capturing.url)
    # The same failure as after a dropped publication.
    api.put_config(CONNECTOR, {**read_config(), "publication.name": "no_publication"})
    wait_until(lambda: api.state(CONNECTOR).failed, timeout=30)
    trace = api.state(CONNECTOR).trace
    assert trace is not None
    assert "Publication autocreation is disabled" in trace
    intake.execute("CREATE PUBLICATION no_publication FOR TABLE public.diabetes_new")
    try:
        assert set_up(capturing)[0].running
    finally:
        intake.execute("DROP PUBLICATION no_publication")


def test_reports_a_table_that_the_role_may_not_read(capturing: Connect, intake: Connection) -> None:
    intake.execute("REVOKE SELECT ON public.diabetes_new FROM debezium")
    try:
        with pytest.raises(
            PlatformError, match=r"debezium may not read table public\.diabetes_new"
        ):
            set_up(capturing)
    finally:
        intake.execute("GRANT SELECT ON public.diabetes_new TO debezium")


def test_reports_a_lost_slot_or_takes_a_new_snapshot(
    capturing: Connect, intake: Connection, write_config: WriteConfig
) -> None:
    ends = capturing.kafka.ends(CDC_TOPIC)
    insert(intake, 59)
    # A connector without a stored offset would start with a snapshot.
    next(capturing.kafka.messages(ends))
    api = ConnectApi(capturing.url)
    api.stop(CONNECTOR)
    wait_until(lambda: slot_is_dropped(intake), timeout=30)
    (unseen,) = insert(intake, 60)
    ensure_slot(intake)
    with pytest.raises(PlatformError, match=f"{SLOT} was lost: docs/operations.md"):
        set_up(capturing, write_config(snapshot_mode="initial"))
    ends = capturing.kafka.ends(CDC_TOPIC)
    assert set_up(capturing)[0].running
    changes = (json.loads(m.value() or b"") for m in capturing.kafka.messages(ends))
    assert next(v["op"] for v in changes if v["after"]["id"] == unseen) == "r"


def test_reports_another_program_that_reads_the_slot(
    capturing: Connect, intake: Connection
) -> None:
    api = ConnectApi(capturing.url)
    api.stop(CONNECTOR)
    wait_until(lambda: not slot_is_read(intake), timeout=30)
    command = [str(binary("pg_recvlogical")), "--dbname", capturing.database_url, "--slot", SLOT]
    options = ["--option=proto_version=1", f"--option=publication_names={PUBLICATION}"]
    with subprocess.Popen([*command, "--start", *options, "--file=/dev/null"]) as holder:
        try:
            wait_until(lambda: slot_is_read(intake), timeout=30)
            with pytest.raises(
                PlatformError, match=f"{SLOT} is held by pg_recvlogical as debezium"
            ):
                set_up(capturing, timeout=15)
        finally:
            holder.terminate()
    # It continues automatically as soon as the slot is free.
    assert set_up(capturing)[0].running


def test_the_topics_of_the_connector_are_declared() -> None:
    config = read_config()
    prefix = config["topic.prefix"]
    assert {f"{prefix}.{config['table.include.list']}", f"__debezium-heartbeat.{prefix}"} <= (
        read_topics().keys()
    )


def test_reports_a_connect_that_does_not_answer(connect: Connect) -> None:
    with pytest.raises(ServiceError, match=r"Kafka Connect at http://127\.0\.0\.1:1 does not"):
        setup_connector("http://127.0.0.1:1", connect.database_url)


def test_reports_a_database_that_does_not_answer(connect: Connect) -> None:
    with pytest.raises(PlatformError, match=r"PostgreSQL on 127\.0\.0\.1:1 as debezium"):
        setup_connector(connect.url, "postgresql://debezium@127.0.0.1:1/diabetes")
