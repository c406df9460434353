"""Change data capture on a real broker, Connect and PostgreSQL: delivery, and each bad input."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from confluent_kafka import TopicPartition
from psycopg import Connection
from psycopg.errors import ObjectInUse

from diabetes_platform.clients.connect import ConnectApi, connector_state
from diabetes_platform.contract.events import CDC_TOPIC, CONNECTOR, DIABETES_NEW_CHANGED
from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.postgres_data import binary
from diabetes_platform.launcher.setup.connector import Outcome, read_config, setup_connector
from diabetes_platform.launcher.setup.topics import read_topics, setup_topics
from diabetes_platform.warehouse.replication import (
    PUBLICATION,
    SLOT,
    drop_slot,
    ensure_slot,
    read_slot,
)
from diabetes_platform_tests.capture import Connect, eventually

pytestmark = pytest.mark.integration
INSERT = """
INSERT INTO diabetes_new (pregnancies, glucose, bmi, diabetes_pedigree_function, age)
VALUES (1, 120, 28.5, 0.4, %s) RETURNING id
"""

Changed = Callable[..., Path]


@pytest.fixture
def capturing(connect: Connect) -> Connect:
    """A worker whose connector captures."""
    set_up(connect)
    return connect


@pytest.fixture
def intake(connect: Connect) -> Iterator[Connection]:
    """A session that may write patients and end other sessions."""
    url = connect.database.server.url("diabetes")
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def changed(tmp_path: Path) -> Changed:
    """Writes the connector's configuration with some values changed."""

    def write(**settings: str) -> Path:
        config = dict(read_config())
        config |= {name.replace("_", "."): value for name, value in settings.items()}
        file = tmp_path / "diabetes-cdc.json"
        file.write_text(json.dumps(config))
        return file

    return write


def set_up(connect: Connect, *more: Any, seconds: float = 60) -> Outcome:
    return setup_connector(connect.url, connect.database_url, *more, seconds=seconds)


def insert(intake: Connection, *ages: int) -> list[int]:
    """Store one patient for each age and return their ids."""
    rows = [intake.execute(INSERT, (age,)).fetchone() for age in ages]
    return [row[0] for row in rows if row is not None]


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


def test_a_change_travels_as_the_contract_says(capturing: Connect, intake: Connection) -> None:
    places = capturing.kafka.ends(CDC_TOPIC)
    (patient,) = insert(intake, 33)
    intake.execute(
        "UPDATE diabetes_new SET outcome = 1, outcome_recorded_at = now() WHERE id = %s", (patient,)
    )
    intake.execute("DELETE FROM diabetes_new WHERE id = %s", (patient,))
    messages = capturing.kafka.messages(places)
    created, updated, deleted, tombstone = (next(messages) for _ in range(4))

    assert {m.key() for m in (created, updated, deleted, tombstone)} == {b'{"id":%d}' % patient}
    assert tombstone.value() is None
    values = [json.loads(m.value() or b"") for m in (created, updated, deleted)]
    operations = [DIABETES_NEW_CHANGED.operations[value["op"]] for value in values]
    assert operations == ["create", "update", "delete"]
    for value in values:
        assert value.keys() >= set(DIABETES_NEW_CHANGED.envelope_keys)
        assert value["source"].keys() >= set(DIABETES_NEW_CHANGED.source_keys)
    assert tuple(values[0]["after"]) == DIABETES_NEW_CHANGED.image_keys
    assert (values[0]["after"]["age"], values[0]["after"]["glucose"]) == (33.0, 120.0)
    assert values[0]["after"]["received_at"].endswith("Z")
    assert (values[1]["after"]["outcome"], values[2]["after"]) == (1, None)
    positions = [value["source"]["lsn"] for value in values]
    assert positions == sorted(set(positions))


def test_a_hundred_rows_a_second_all_arrive(capturing: Connect, intake: Connection) -> None:
    places = capturing.kafka.ends(CDC_TOPIC)
    stored = insert(intake, *range(18, 118))
    messages = capturing.kafka.messages(places)
    arrived = [json.loads(next(messages).value() or b"")["after"]["id"] for _ in stored]
    assert sorted(arrived) == stored


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


def test_rows_from_before_the_first_start_are_captured_too(
    connect: Connect, intake: Connection
) -> None:
    connect_without_offsets(connect)
    before = insert(intake, 40, 41)
    places = connect.kafka.ends(CDC_TOPIC)
    set_up(connect)
    after = insert(intake, 42)
    wanted = {**dict.fromkeys(before, "r"), **dict.fromkeys(after, "c")}
    arrived: dict[int, str] = {}
    for message in connect.kafka.messages(places):
        value = json.loads(message.value() or b"")
        arrived[value["after"]["id"]] = value["op"]
        if wanted.keys() <= arrived.keys():
            break
    assert {patient: arrived[patient] for patient in wanted} == wanted


def connect_without_offsets(connect: Connect) -> None:
    """Forget the connector and how far it had read."""
    address = f"/connectors/{CONNECTOR}"
    with httpx.Client(base_url=connect.url, trust_env=False, timeout=30) as client:
        if client.get(address).is_success:
            client.put(f"{address}/stop").raise_for_status()
            eventually(lambda: client.get(f"{address}/status").json()["tasks"] == [])
            eventually(lambda: client.delete(f"{address}/offsets").is_success)
            client.delete(address).raise_for_status()


def test_the_password_is_on_no_command_line_and_not_in_kafka(capturing: Connect) -> None:
    password = capturing.database.passwords["debezium"].encode()
    assert password not in Path(f"/proc/{capturing.pid}/cmdline").read_bytes()
    starts = capturing.kafka.ends("connect-configs")
    for place in starts:
        place.offset = 0
    stored = [m.value() or b"" for m in capturing.kafka.messages(starts, seconds=2)]
    assert any(b"${env:DEBEZIUM_PASSWORD}" in value for value in stored)
    assert not any(password in value for value in stored)
    assert password not in capturing.log.read_bytes()


def require_all(connect: Connect, places: list[TopicPartition], patients: list[int]) -> None:
    """Read from `places` on until each patient has come, once or twice."""
    missing = set(patients)
    for message in connect.kafka.messages(places):
        missing.discard(json.loads(message.value() or b"")["after"]["id"])
        if not missing:
            return
    pytest.fail(f"{len(missing)} of {len(patients)} events did not come")


@pytest.mark.slow
def test_a_killed_connect_loses_nothing(capturing: Connect, intake: Connection) -> None:
    places = capturing.kafka.ends(CDC_TOPIC)
    stored = insert(intake, 50, 51)
    capturing.kill()
    stored += insert(intake, 52, 53)
    capturing.start()
    stored += insert(intake, 54)
    require_all(capturing, places, stored)
    assert set_up(capturing).state.running


@pytest.mark.slow
def test_a_killed_broker_loses_nothing(capturing: Connect, intake: Connection) -> None:
    places = capturing.kafka.ends(CDC_TOPIC)
    stored = insert(intake, 50, 51)
    capturing.kafka.kill()
    stored += insert(intake, 52, 53)
    capturing.kafka.start()
    stored += insert(intake, 54)
    require_all(capturing, places, stored)
    assert set_up(capturing).state.running


def test_a_deleted_topic_is_made_again_and_what_waited_for_it_comes(
    capturing: Connect, intake: Connection
) -> None:
    capturing.kafka.admin.delete_topics([CDC_TOPIC])[CDC_TOPIC].result(30)
    stored = insert(intake, 55, 56)
    assert setup_topics(capturing.kafka.bootstrap_servers).create.keys() == {CDC_TOPIC}
    partitions = read_topics()[CDC_TOPIC].partitions
    require_all(capturing, [TopicPartition(CDC_TOPIC, n, 0) for n in range(partitions)], stored)


@pytest.mark.slow
def test_an_idle_table_does_not_keep_the_log_of_other_tables(
    capturing: Connect, intake: Connection, changed: Changed
) -> None:
    set_up(capturing, changed(heartbeat_interval_ms="500"))
    intake.execute("CREATE TABLE IF NOT EXISTS busy (x text)")
    intake.execute("INSERT INTO busy SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
    row = intake.execute("SELECT pg_current_wal_lsn()").fetchone()
    assert row is not None
    confirmed = "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots"
    eventually(lambda: intake.execute(confirmed, row).fetchone() == (True,), seconds=60)


def test_a_table_that_does_not_exist_is_named_though_debezium_would_run(
    capturing: Connect, changed: Changed
) -> None:
    with pytest.raises(LauncherError, match=r"table public\.diabetes_old does not exist: given in"):
        set_up(capturing, changed(table_include_list="public.diabetes_old"))
    assert connector_state(capturing.url, CONNECTOR).running


def test_a_table_that_is_not_published_is_named(capturing: Connect, changed: Changed) -> None:
    with pytest.raises(LauncherError, match=r"table staging\.patients is not in the publication"):
        set_up(capturing, changed(table_include_list="staging.patients"))


def test_a_publication_that_is_missing_is_named(capturing: Connect, changed: Changed) -> None:
    with pytest.raises(LauncherError, match="is not in the publication no_publication"):
        set_up(capturing, changed(publication_name="no_publication"))


def test_a_wrong_password_is_told_without_what_was_given(
    capturing: Connect, changed: Changed
) -> None:
    with pytest.raises(LauncherError) as refused:
        set_up(capturing, changed(database_password="sesame"))
    assert "PostgreSQL does not take the connector's password" in str(refused.value)
    assert "sesame" not in str(refused.value)
    assert connector_state(capturing.url, CONNECTOR).running


def test_a_variable_that_is_not_for_connectors_stays_unread(
    capturing: Connect, changed: Changed
) -> None:
    with pytest.raises(LauncherError, match=r'authentication failed for user "\$\{env:PATH\}"'):
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
            LauncherError, match=r"debezium may not read table public\.diabetes_new"
        ):
            set_up(capturing)
    finally:
        intake.execute("GRANT SELECT ON public.diabetes_new TO debezium")


def test_a_lost_slot_is_told_or_bridged_by_a_new_snapshot(
    capturing: Connect, intake: Connection, changed: Changed
) -> None:
    with ConnectApi(capturing.url) as api:
        api.stop(CONNECTOR)
    eventually(lambda: dropped(intake))
    (in_the_gap,) = insert(intake, 60)
    ensure_slot(intake)
    with pytest.raises(LauncherError, match=f"{SLOT} was given up: docs/operations.md"):
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
                LauncherError, match=f"{SLOT} is held by pg_recvlogical as debezium"
            ):
                set_up(capturing, seconds=5)
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
    with pytest.raises(LauncherError, match=r"Kafka Connect at http://127\.0\.0\.1:1 does not"):
        setup_connector("http://127.0.0.1:1", connect.database_url)


def test_a_database_that_does_not_answer_is_named(connect: Connect) -> None:
    with pytest.raises(LauncherError, match=r"PostgreSQL on 127\.0\.0\.1:1 as debezium"):
        setup_connector(connect.url, "postgresql://debezium@127.0.0.1:1/diabetes")
