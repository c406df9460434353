"""Change data capture with a real broker, Connect and PostgreSQL: messages and completeness."""

import json
from pathlib import Path

import httpx
import pytest
from confluent_kafka import TopicPartition
from psycopg import Connection

from diabetes_platform.contract.change_events import IMAGE_KEYS
from diabetes_platform.contract.topics import CDC_TOPIC, CONNECTOR, OPERATIONS
from diabetes_platform.polling import wait_until
from diabetes_platform.provisioning.topics import read_topics, setup_topics
from diabetes_platform_tests.capture import Connect
from diabetes_platform_tests.provisioning.conftest import WriteConfig, insert, set_up

pytestmark = pytest.mark.integration


def test_changes_have_the_format_of_the_contract(capturing: Connect, intake: Connection) -> None:
    ends = capturing.kafka.ends(CDC_TOPIC)
    (patient,) = insert(intake, 33)
    intake.execute(
        "UPDATE diabetes_new SET outcome = 1, outcome_recorded_at = now() WHERE id = %s", (patient,)
    )
    intake.execute("DELETE FROM diabetes_new WHERE id = %s", (patient,))
    messages = capturing.kafka.messages(ends)
    created, updated, deleted, tombstone = (next(messages) for _ in range(4))

    assert {m.key() for m in (created, updated, deleted, tombstone)} == {b'{"id":%d}' % patient}
    assert tombstone.value() is None
    values = [json.loads(m.value() or b"") for m in (created, updated, deleted)]
    operations = [OPERATIONS[value["op"]] for value in values]
    assert operations == ["create", "update", "delete"]
    for value in values:
        assert value.keys() >= {"before", "after", "source", "op", "ts_ms"}
        assert value["source"].keys() >= {"lsn", "ts_ms", "table", "snapshot"}
    assert tuple(values[0]["after"]) == IMAGE_KEYS
    assert (values[0]["after"]["age"], values[0]["after"]["glucose"]) == (33.0, 120.0)
    assert values[0]["after"]["received_at"].endswith("Z")
    assert (values[1]["after"]["outcome"], values[2]["after"]) == (1, None)
    positions = [value["source"]["lsn"] for value in values]
    assert positions == sorted(set(positions))


def test_captures_all_of_a_hundred_rows_a_second(capturing: Connect, intake: Connection) -> None:
    ends = capturing.kafka.ends(CDC_TOPIC)
    stored = insert(intake, *range(18, 118))
    messages = capturing.kafka.messages(ends)
    received = [json.loads(next(messages).value() or b"")["after"]["id"] for _ in stored]
    assert sorted(received) == stored


def test_captures_rows_from_before_the_first_start(connect: Connect, intake: Connection) -> None:
    connect_without_offsets(connect)
    existing = insert(intake, 40, 41)
    ends = connect.kafka.ends(CDC_TOPIC)
    set_up(connect)
    inserted = insert(intake, 42)
    expected = {**dict.fromkeys(existing, "r"), **dict.fromkeys(inserted, "c")}
    received: dict[int, str] = {}
    for message in connect.kafka.messages(ends):
        value = json.loads(message.value() or b"")
        received[value["after"]["id"]] = value["op"]
        if expected.keys() <= received.keys():
            break
    assert {patient: received[patient] for patient in expected} == expected


def connect_without_offsets(connect: Connect) -> None:
    """Remove the connector and its offsets."""
    address = f"/connectors/{CONNECTOR}"
    with httpx.Client(base_url=connect.url, trust_env=False, timeout=30) as client:
        if client.get(address).is_success:
            client.put(f"{address}/stop").raise_for_status()
            wait_until(lambda: client.get(f"{address}/status").json()["tasks"] == [], timeout=30)
            wait_until(lambda: client.delete(f"{address}/offsets").is_success, timeout=30)
            client.delete(address).raise_for_status()


def test_the_password_is_on_no_command_line_and_not_in_kafka(capturing: Connect) -> None:
    password = capturing.database.passwords["debezium"].encode()
    assert password not in Path(f"/proc/{capturing.pid}/cmdline").read_bytes()
    (start,) = capturing.kafka.ends("connect-configs")
    newest, start.offset = start.offset - 1, 0
    stored = []
    for message in capturing.kafka.messages([start]):
        stored.append(message.value() or b"")
        if message.offset() == newest:
            break
    assert any(b"${env:DEBEZIUM_PASSWORD}" in value for value in stored)
    assert not any(password in value for value in stored)
    assert password not in capturing.log.read_bytes()


def require_all(connect: Connect, ends: list[TopicPartition], patients: list[int]) -> None:
    """Read from `ends` until each patient was received at least once."""
    missing = set(patients)
    for message in connect.kafka.messages(ends):
        missing.discard(json.loads(message.value() or b"")["after"]["id"])
        if not missing:
            return
    pytest.fail(f"{len(missing)} of {len(patients)} events are missing")


@pytest.mark.slow
def test_a_killed_connect_loses_nothing(capturing: Connect, intake: Connection) -> None:
    ends = capturing.kafka.ends(CDC_TOPIC)
    stored = insert(intake, 50, 51)
    capturing.kill()
    stored += insert(intake, 52, 53)
    capturing.start()
    stored += insert(intake, 54)
    require_all(capturing, ends, stored)
    assert set_up(capturing)[0].running


@pytest.mark.slow
def test_a_killed_broker_loses_nothing(capturing: Connect, intake: Connection) -> None:
    ends = capturing.kafka.ends(CDC_TOPIC)
    stored = insert(intake, 50, 51)
    capturing.kafka.kill()
    stored += insert(intake, 52, 53)
    capturing.kafka.start()
    stored += insert(intake, 54)
    require_all(capturing, ends, stored)
    assert set_up(capturing)[0].running


def test_delivers_waiting_changes_after_a_deleted_topic_is_created_again(
    capturing: Connect, intake: Connection
) -> None:
    capturing.kafka.admin.delete_topics([CDC_TOPIC])[CDC_TOPIC].result(30)
    wait_until(
        lambda: CDC_TOPIC not in capturing.kafka.admin.list_topics(timeout=10).topics, timeout=30
    )
    stored = insert(intake, 55, 56)
    assert setup_topics(capturing.kafka.bootstrap_servers).create.keys() == {CDC_TOPIC}
    partitions = read_topics()[CDC_TOPIC].partitions
    require_all(capturing, [TopicPartition(CDC_TOPIC, n, 0) for n in range(partitions)], stored)


@pytest.mark.slow
def test_heartbeats_release_the_wal_of_other_tables(
    capturing: Connect, intake: Connection, write_config: WriteConfig
) -> None:
    set_up(capturing, write_config(heartbeat_interval_ms="500"))
    intake.execute("CREATE TABLE IF NOT EXISTS busy (x text)")
    intake.execute("INSERT INTO busy SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
    row = intake.execute("SELECT pg_current_wal_lsn()").fetchone()
    assert row is not None
    confirmed = "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots"
    wait_until(lambda: intake.execute(confirmed, row).fetchone() == (True,), timeout=60)
