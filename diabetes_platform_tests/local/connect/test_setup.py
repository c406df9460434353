"""Setting up the connector on a real Connect: done once, and each bad input told by name."""

import json
import subprocess

import pytest
from psycopg import Connection
from psycopg.errors import ObjectInUse

from diabetes_platform.clients.connect import ConnectApi, connector_state
from diabetes_platform.clients.errors import ServiceError
from diabetes_platform.contract.events import CDC_TOPIC, CONNECTOR
from diabetes_platform.local.connect.setup import read_config, setup_connector
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.kafka.setup import read_topics
from diabetes_platform.local.postgres.data import binary
from diabetes_platform.warehouse.replication import (
    PUBLICATION,
    SLOT,
    ensure_slot,
    read_slot,
)
from diabetes_platform_tests.capture import Connect, eventually
from diabetes_platform_tests.local.connect.conftest import Changed, insert, set_up
from diabetes_platform_tests.provisioned import drop_slot

pytestmark = pytest.mark.integration


def held(intake: Connection) -> bool:
    """Whether somebody reads the slot."""
    slot = read_slot(intake)
    return slot is not None and slot.held_by is not None


def dropped(intake: Connection) -> bool:
    """Give the slot up; False while a task that reads it has not ended."""
    try:
        drop_slot(intake)
    except ObjectInUse:
        return False
    return True


def test_setting_up_again_changes_nothing(capturing: Connect) -> None:
    before = capturing.kafka.ends("connect-configs")
    outcome = set_up(capturing)
    assert (outcome.changed, str(outcome.state)) == (False, "RUNNING, task RUNNING")
    assert capturing.kafka.ends("connect-configs") == before
    assert connector_state(capturing.url, CONNECTOR) == outcome.state


def test_a_changed_file_changes_the_connector(capturing: Connect, changed: Changed) -> None:
    assert set_up(capturing, changed(poll_interval_ms="20")).changed
    with ConnectApi(capturing.url) as api:
        config = api.config(CONNECTOR)
    assert config is not None
    assert config["poll.interval.ms"] == "20"
    assert set_up(capturing).changed


def test_a_paused_connector_goes_on(capturing: Connect) -> None:
    with ConnectApi(capturing.url) as api:
        api.stop(CONNECTOR)
        eventually(lambda: api.state(CONNECTOR).connector == "STOPPED")
    assert set_up(capturing).state.running


def test_a_table_that_does_not_exist_is_named_though_debezium_would_run(
    capturing: Connect, changed: Changed
) -> None:
    with pytest.raises(PlatformError, match=r"table public\.diabetes_old does not exist: given in"):
        set_up(capturing, changed(table_include_list="public.diabetes_old"))
    assert connector_state(capturing.url, CONNECTOR).running


def test_a_table_that_is_not_published_is_named(capturing: Connect, changed: Changed) -> None:
    with pytest.raises(PlatformError, match=r"table staging\.patients is not in the publication"):
        set_up(capturing, changed(table_include_list="staging.patients"))


def test_a_publication_that_is_missing_is_named(capturing: Connect, changed: Changed) -> None:
    with pytest.raises(PlatformError, match="is not in the publication no_publication"):
        set_up(capturing, changed(publication_name="no_publication"))


def test_a_wrong_password_is_told_without_what_was_given(
    capturing: Connect, changed: Changed
) -> None:
    with pytest.raises(PlatformError) as refused:
        set_up(capturing, changed(database_password="sesame"))
    assert "PostgreSQL does not take the connector's password" in str(refused.value)
    assert "sesame" not in str(refused.value)
    assert connector_state(capturing.url, CONNECTOR).running


def test_a_variable_that_is_not_for_connectors_stays_unread(
    capturing: Connect, changed: Changed
) -> None:
    with pytest.raises(PlatformError, match=r'authentication failed for user "\$\{env:PATH\}"'):
        set_up(capturing, changed(database_user="${env:PATH}"))


def test_a_task_that_failed_is_started_again(capturing: Connect, intake: Connection) -> None:
    with ConnectApi(capturing.url) as api:
        # What a dropped publication does to a running connector.
        api.put_config(CONNECTOR, {**read_config(), "publication.name": "no_publication"})
        eventually(lambda: api.state(CONNECTOR).failed)
        trace = api.state(CONNECTOR).trace
    assert trace is not None
    assert "Publication autocreation is disabled" in trace
    intake.execute("CREATE PUBLICATION no_publication FOR TABLE public.diabetes_new")
    try:
        assert set_up(capturing).state.running
    finally:
        intake.execute("DROP PUBLICATION no_publication")


def test_a_table_that_the_role_may_not_read_is_named(
    capturing: Connect, intake: Connection
) -> None:
    intake.execute("REVOKE SELECT ON public.diabetes_new FROM debezium")
    try:
        with pytest.raises(
            PlatformError, match=r"debezium may not read table public\.diabetes_new"
        ):
            set_up(capturing)
    finally:
        intake.execute("GRANT SELECT ON public.diabetes_new TO debezium")


def test_a_lost_slot_is_told_or_bridged_by_a_new_snapshot(
    capturing: Connect, intake: Connection, changed: Changed
) -> None:
    places = capturing.kafka.ends(CDC_TOPIC)
    insert(intake, 59)
    # Only who has read something can miss what comes next.
    next(capturing.kafka.messages(places))
    with ConnectApi(capturing.url) as api:
        api.stop(CONNECTOR)
    eventually(lambda: dropped(intake))
    (in_the_gap,) = insert(intake, 60)
    ensure_slot(intake)
    with pytest.raises(PlatformError, match=f"{SLOT} was given up: docs/operations.md"):
        set_up(capturing, changed(snapshot_mode="initial"))
    places = capturing.kafka.ends(CDC_TOPIC)
    assert set_up(capturing).state.running
    arrived = (json.loads(m.value() or b"") for m in capturing.kafka.messages(places))
    assert next(v["op"] for v in arrived if v["after"]["id"] == in_the_gap) == "r"


def test_a_slot_that_another_program_holds_is_told_with_its_holder(
    capturing: Connect, intake: Connection
) -> None:
    with ConnectApi(capturing.url) as api:
        api.stop(CONNECTOR)
    eventually(lambda: not held(intake))
    command = [str(binary("pg_recvlogical")), "--dbname", capturing.database_url, "--slot", SLOT]
    options = ["--option=proto_version=1", f"--option=publication_names={PUBLICATION}"]
    with subprocess.Popen([*command, "--start", *options, "--file=/dev/null"]) as holder:
        try:
            eventually(lambda: held(intake))
            with pytest.raises(
                PlatformError, match=f"{SLOT} is held by pg_recvlogical as debezium"
            ):
                set_up(capturing, seconds=15)
        finally:
            holder.terminate()
    # It goes on by itself as soon as the slot is free.
    assert set_up(capturing).state.running


def test_every_topic_that_the_connector_writes_to_is_among_the_topics() -> None:
    config = read_config()
    prefix = config["topic.prefix"]
    assert {f"{prefix}.{config['table.include.list']}", f"__debezium-heartbeat.{prefix}"} <= (
        read_topics().keys()
    )


def test_a_connect_that_does_not_answer_is_named(connect: Connect) -> None:
    with pytest.raises(ServiceError, match=r"Kafka Connect at http://127\.0\.0\.1:1 does not"):
        setup_connector("http://127.0.0.1:1", connect.database_url)


def test_a_database_that_does_not_answer_is_named(connect: Connect) -> None:
    with pytest.raises(PlatformError, match=r"PostgreSQL on 127\.0\.0\.1:1 as debezium"):
        setup_connector(connect.url, "postgresql://debezium@127.0.0.1:1/diabetes")
