"""Set-up of the connector on a real Connect: idempotence, recovery, and errors by name."""

import json
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from confluent_kafka import TopicPartition
from psycopg import Connection
from psycopg.errors import ObjectInUse

from diabetes_platform.clients.connect import ConnectApi, ConnectorState, connector_state
from diabetes_platform.clients.errors import ServiceError
from diabetes_platform.contract.topics import CDC_TOPIC, CONNECTOR
from diabetes_platform.defs.alerts.stream import capture_issues
from diabetes_platform.errors import PlatformError
from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.data import binary
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.polling import wait_until
from diabetes_platform.provisioning.connector import read_config, setup_connector
from diabetes_platform.provisioning.topics import read_topics
from diabetes_platform.warehouse.capture import (
    EPOCH_SETTING,
    SERVER_SETTING,
    Capture,
    next_capture,
    read_position,
    start_epoch,
)
from diabetes_platform.warehouse.replication import (
    PUBLICATION,
    SLOT,
    ensure_slot,
    read_slot,
    recreate_slot,
)
from diabetes_platform_tests.capture import Connect
from diabetes_platform_tests.conftest import FAST
from diabetes_platform_tests.provisioned import CAPTURE, drop_slot, provision
from diabetes_platform_tests.provisioning.conftest import WriteConfig, insert, set_up

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


def snapshot_of(capturing: Connect, ends: list[TopicPartition], patient: int) -> dict[str, Any]:
    """The first change of a patient after `ends`."""
    values = (json.loads(m.value() or b"{}") for m in capturing.kafka.messages(ends))
    return next(v for v in values if (v.get("after") or {}).get("id") == patient)


def insert_captured(capturing: Connect, intake: Connection, age: int) -> int:
    """Insert a patient, wait until the change is captured, and return the id."""
    ends = capturing.kafka.ends(CDC_TOPIC)
    (patient,) = insert(intake, age)
    assert snapshot_of(capturing, ends, patient)["op"] == "c"
    return patient


def test_captures_a_new_server_behind_an_old_connector(
    capturing: Connect, write_config: WriteConfig, tmp_path: Path
) -> None:
    """The new server's log is shorter, so Debezium alone would wait for its old position."""
    with Postgres(tmp_path / "new", free_port(), "secret", settings=FAST | CAPTURE) as server:
        rebuilt = provision(server)
        file = write_config(
            database_port=str(server.port), database_password=rebuilt.passwords["debezium"]
        )
        ends = capturing.kafka.ends(CDC_TOPIC)
        with psycopg.connect(server.url("diabetes"), autocommit=True) as intake:
            (earlier,) = insert(intake, 41)
            state, changed = setup_connector(capturing.url, rebuilt.url("debezium"), file)
            assert (changed, state.running) == (True, True)
            (later,) = insert(intake, 42)
        first, second = (snapshot_of(capturing, ends, patient) for patient in (earlier, later))
        assert (first["op"], first["after"]["age"]) == ("r", 41)
        assert (second["op"], second["after"]["age"]) == ("c", 42)
        # Readers hide a prediction of a change that is older than its row.
        received = datetime.fromisoformat(first["after"]["received_at"]).timestamp() * 1000
        assert first["source"]["ts_ms"] >= int(received)
        assert int(first["capture_epoch"]) == int(second["capture_epoch"]) > 0
        assert setup_connector(capturing.url, rebuilt.url("debezium"), file)[1] is False
        # Back to the first server, as after a restore.
        assert set_up(capturing) == (ConnectorState("RUNNING", ("RUNNING",)), True)


def test_takes_a_snapshot_of_a_server_that_was_restored_from_an_older_state(
    capturing: Connect, intake: Connection
) -> None:
    (patient,) = insert(intake, 43)
    api = ConnectApi(capturing.url)
    api.stop(CONNECTOR)
    wait_until(lambda: not api.state(CONNECTOR).tasks, timeout=30)
    (stored,) = httpx.get(f"{capturing.url}/connectors/{CONNECTOR}/offsets").json()["offsets"]
    for name in ("lsn", "lsn_proc", "lsn_commit"):
        stored["offset"][name] = 2**40
    ahead = httpx.patch(
        f"{capturing.url}/connectors/{CONNECTOR}/offsets", json={"offsets": [stored]}, timeout=30
    )
    assert ahead.is_success, ahead.text
    assert api.offset_lsn(CONNECTOR) == 2**40
    ends = capturing.kafka.ends(CDC_TOPIC)
    assert set_up(capturing)[1]
    assert snapshot_of(capturing, ends, patient)["op"] == "r"
    (later,) = insert(intake, 44)
    assert snapshot_of(capturing, ends, later)["op"] == "c"


def test_takes_a_snapshot_after_the_slot_was_created_again(
    capturing: Connect, intake: Connection
) -> None:
    (earlier,) = insert(intake, 40)
    api = ConnectApi(capturing.url)
    api.stop(CONNECTOR)
    wait_until(lambda: not slot_is_read(intake), timeout=30)
    (unseen,) = insert(intake, 46)
    assert recreate_slot(intake).wal_status == "reserved"
    ends = capturing.kafka.ends(CDC_TOPIC)
    assert set_up(capturing)[0].running
    for patient in (earlier, unseen):
        assert snapshot_of(capturing, ends, patient)["op"] == "r"


def test_a_running_platform_captures_a_replaced_server_and_reports_it_at_once(
    capturing: Connect, intake: Connection
) -> None:
    api = ConnectApi(capturing.url)
    warehouse_url = capturing.database.url("pipeline")
    # The epoch of another test is no longer news.
    now_ms = time.time_ns() // 1_000_000 + 3_600_000
    config = api.config(CONNECTOR)
    assert config is not None
    position, issues = capture_issues(capturing.url, warehouse_url, None, now_ms)
    assert position is not None
    assert issues == []
    patient = insert_captured(capturing, intake, 45)
    api.put_config(CONNECTOR, {**config, SERVER_SETTING: "7000000000000000001/1"})
    ends = capturing.kafka.ends(CDC_TOPIC)
    position, (issue,) = capture_issues(capturing.url, warehouse_url, position, now_ms)
    assert issue.urgent
    assert "captured 7000000000000000001/1" in issue.problem
    assert snapshot_of(capturing, ends, patient)["op"] == "r"
    later = capture_issues(capturing.url, warehouse_url, position, now_ms + 15_000)
    assert later[1] == [issue]
    assert capture_issues(capturing.url, warehouse_url, later[0], now_ms + 600_000)[1] == []
    assert set_up(capturing)[1] is False


def test_a_running_platform_continues_an_epoch_only_if_nobody_starts_it(
    capturing: Connect, intake: Connection
) -> None:
    """`make up` may be starting it between two steps."""
    api = ConnectApi(capturing.url)
    warehouse_url = capturing.database.url("pipeline")
    now_ms = time.time_ns() // 1_000_000
    patient = insert_captured(capturing, intake, 48)
    config = api.config(CONNECTOR)
    assert config is not None
    api.put_config(CONNECTOR, {**config, SERVER_SETTING: ""})
    ends = capturing.kafka.ends(CDC_TOPIC)
    position, issues = capture_issues(capturing.url, warehouse_url, None, now_ms)
    assert issues == []
    assert (api.config(CONNECTOR) or {})[SERVER_SETTING] == ""
    position, (issue,) = capture_issues(capturing.url, warehouse_url, position, now_ms)
    assert issue.urgent
    assert snapshot_of(capturing, ends, patient)["op"] == "r"


def test_a_running_platform_recognises_a_log_that_has_grown_again_by_the_previous_poll(
    capturing: Connect, intake: Connection
) -> None:
    warehouse_url = capturing.database.url("pipeline")
    now_ms = time.time_ns() // 1_000_000
    position, _ = capture_issues(capturing.url, warehouse_url, None, now_ms)
    assert position is not None
    lost = {**position, "lsn": position["lsn"] + 2**40}
    patient = insert_captured(capturing, intake, 47)
    ends = capturing.kafka.ends(CDC_TOPIC)
    # `make up` has started another epoch in between.
    other_epoch = {**lost, "epoch": position["epoch"] - 1}
    assert capture_issues(capturing.url, warehouse_url, other_epoch, now_ms)[0] is not None
    assert capturing.kafka.ends(CDC_TOPIC) == ends
    second, (issue,) = capture_issues(capturing.url, warehouse_url, lost, now_ms)
    assert second is not None
    assert "restored from an older state" in issue.problem
    first = snapshot_of(capturing, ends, patient)
    assert (first["op"], int(first["capture_epoch"])) == ("r", position["epoch"] + 1)
    # A restored Dagster may have the incident of the previous epoch.
    lost_again = {**second, "lsn": second["lsn"] + 2**40}
    _, (another,) = capture_issues(capturing.url, warehouse_url, lost_again, now_ms)
    assert another.subject != issue.subject


class InterruptedApi(ConnectApi):
    """Connect's REST API that fails in the request with the number `fails_at`, before or after it
    is executed.
    """

    __slots__ = ("after", "fails_at", "requests")

    def __init__(self, url: str, fails_at: int, *, after: bool) -> None:
        super().__init__(url)
        object.__setattr__(self, "fails_at", fails_at)
        object.__setattr__(self, "after", after)
        object.__setattr__(self, "requests", [])

    def _send(self, method: str, path: str, body: object = None) -> httpx.Response:
        if method == "GET":
            return super()._send(method, path, body)
        self.requests.append(f"{method} {path}")
        fails = len(self.requests) == self.fails_at
        if fails and not self.after:
            raise ServiceError("interrupted")
        response = super()._send(method, path, body)
        if fails:
            raise ServiceError("interrupted")
        return response


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", range(1, 6))
def test_an_epoch_whose_start_is_interrupted_is_continued(
    capturing: Connect, intake: Connection, step: int, *, after: bool
) -> None:
    api = InterruptedApi(capturing.url, step, after=after)
    config = api.config(CONNECTOR)
    assert config is not None
    warehouse_url, now_ms = capturing.database.url("pipeline"), time.time_ns() // 1_000_000
    position, _ = capture_issues(capturing.url, warehouse_url, None, now_ms)
    assert position is not None
    lost = {**position, "lsn": position["lsn"] + 2**40}
    patient = insert_captured(capturing, intake, 48)
    ends = capturing.kafka.ends(CDC_TOPIC)
    with psycopg.connect(warehouse_url) as connection:
        server = read_position(connection)
    capture = next_capture(config, server, "rebuilt", now_ms)
    with pytest.raises(ServiceError, match="interrupted"):
        start_epoch(api, CONNECTOR, config, capture)
    assert (
        api.requests
        == [
            f"PUT /connectors/{CONNECTOR}/stop",
            f"PUT /connectors/{CONNECTOR}/config",
            f"DELETE /connectors/{CONNECTOR}/offsets",
            f"PUT /connectors/{CONNECTOR}/config",
            f"PUT /connectors/{CONNECTOR}/resume",
        ][:step]
    )
    after_one_poll, issues = capture_issues(capturing.url, warehouse_url, lost, now_ms)
    if not issues:
        assert (api.config(CONNECTOR) or {})[SERVER_SETTING] == ""
        _, issues = capture_issues(capturing.url, warehouse_url, after_one_poll, now_ms)
    assert [issue.urgent for issue in issues] == [True]
    first = snapshot_of(capturing, ends, patient)
    assert (first["op"], int(first["capture_epoch"])) == ("r", capture.epoch)
    stored = api.config(CONNECTOR)
    assert stored is not None
    assert stored[SERVER_SETTING] == str(server)
    assert set_up(capturing)[1] is False


def test_make_up_continues_an_interrupted_epoch_and_a_first_registration(
    capturing: Connect, intake: Connection
) -> None:
    api = ConnectApi(capturing.url)
    for reason in ("rebuilt", ""):
        patient = insert_captured(capturing, intake, 49)
        config = api.config(CONNECTOR)
        assert config is not None
        epoch = int(config[EPOCH_SETTING]) + 1
        interrupted = Capture("", epoch, reason, 1)
        api.stop(CONNECTOR)
        wait_until(lambda: not api.state(CONNECTOR).tasks, timeout=30)
        api.put_config(CONNECTOR, {**read_config(), **interrupted.settings})
        ends = capturing.kafka.ends(CDC_TOPIC)
        assert set_up(capturing) == (ConnectorState("RUNNING", ("RUNNING",)), True)
        first = snapshot_of(capturing, ends, patient)
        assert (first["op"], int(first["capture_epoch"])) == ("r", epoch)


def test_a_new_registration_never_uses_the_offset_of_a_deleted_connector(
    capturing: Connect, intake: Connection
) -> None:
    patient = insert_captured(capturing, intake, 50)
    api = ConnectApi(capturing.url)
    wait_until(lambda: api.offset_lsn(CONNECTOR) is not None, timeout=30)
    httpx.delete(f"{capturing.url}/connectors/{CONNECTOR}").raise_for_status()
    wait_until(lambda: not slot_is_read(intake), timeout=30)
    ends = capturing.kafka.ends(CDC_TOPIC)
    hours = int((datetime.now(UTC) - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds()) // 3600
    assert set_up(capturing) == (ConnectorState("RUNNING", ("RUNNING",)), True)
    first = snapshot_of(capturing, ends, patient)
    assert (first["op"], int(first["capture_epoch"])) == ("r", hours)


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
