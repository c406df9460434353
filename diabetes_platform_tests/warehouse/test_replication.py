"""The slot: who holds it, when it is lost, how it advances, and what it may take of the disk."""

import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import psycopg
import pytest
from psycopg import Connection
from psycopg.errors import ObjectInUse

from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.data import binary
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.warehouse.replication import (
    MIB,
    PUBLICATION,
    SLOT,
    Slot,
    ensure_slot,
    read_slot,
    slot_problem,
    slot_progress,
    slot_warning,
    stall_problem,
)
from diabetes_platform_tests.conftest import FAST
from diabetes_platform_tests.provisioned import CAPTURE, ProvisionedServer, drop_slot, provision

READ = Slot(
    plugin="pgoutput",
    database="diabetes",
    wal_status="reserved",
    invalidation_reason=None,
    kept=3 * MIB,
    behind=2 * MIB,
    holder_pid=41,
    holder="Debezium Streaming",
    holder_user="debezium",
)


@pytest.mark.parametrize(
    ("slot", "problem"),
    [
        (READ, None),
        (replace(READ, holder_pid=None, wal_status="extended"), None),
        (None, "diabetes_slot is missing: `make up` creates it"),
        (replace(READ, wal_status="unreserved", kept=2100 * MIB), "retains 2100 MiB .* start"),
        (
            replace(READ, wal_status="lost", invalidation_reason="wal_removed"),
            r"invalidated by PostgreSQL \(wal_removed\): `make up` .* new snapshot",
        ),
        (replace(READ, behind=-5_000), r"5,000 bytes after the end of the server's log: `make up`"),
        (replace(READ, plugin="test_decoding"), "uses test_decoding in database diabetes; allowed"),
        (
            replace(READ, database="dagster"),
            "pgoutput in database dagster; allowed: pgoutput in di",
        ),
    ],
)
def test_a_problem_of_the_slot_says_what_to_do(slot: Slot | None, problem: str | None) -> None:
    problem_text = slot_problem(slot, "diabetes")
    assert problem_text == problem or (
        problem_text and problem and re.search(problem, problem_text)
    )


def test_reports_a_consumer_that_confirms_nothing_while_the_log_grows() -> None:
    """As behind a new server: the connector runs, and its slot is active and reserved."""
    start = slot_progress(None, replace(READ, confirmed=700), now_ms=0)
    assert start == (700, 0)
    for now_ms, expected in ((119_999, None), (120_000, "has not advanced for 120 s")):
        slot = replace(READ, confirmed=700, behind=now_ms)
        progress = slot_progress(start, slot, now_ms)
        problem = stall_problem(progress, slot, now_ms)
        assert problem == expected or (problem and expected and expected in problem)
    advanced = replace(READ, confirmed=701)
    assert slot_progress(start, advanced, 120_000) == (701, 120_000)
    assert stall_problem((701, 120_000), advanced, 130_000) is None


def test_a_slot_whose_whole_log_is_confirmed_or_that_is_lost_does_not_stall() -> None:
    confirmed = replace(READ, confirmed=700, behind=0)
    assert stall_problem((700, 0), confirmed, 600_000) is None
    assert slot_progress((700, 0), None, 600_000) is None
    assert slot_progress((700, 0), replace(READ, wal_status="lost"), 600_000) is None


def test_warns_before_a_slot_retains_too_much_log() -> None:
    assert slot_warning(replace(READ, kept=512 * MIB), "diabetes") is None
    problem_text = slot_warning(replace(READ, kept=600 * MIB, holder_pid=None), "diabetes")
    assert problem_text is not None
    assert problem_text.endswith("600 MiB of write-ahead log; allowed: 512. It has no reader")
    assert slot_warning(None, "diabetes") == slot_problem(None, "diabetes")


@pytest.mark.parametrize(
    ("slot", "held_by"),
    [
        (READ, "Debezium Streaming as debezium (PostgreSQL's pid 41)"),
        (
            replace(READ, holder=None, holder_user=None),
            "an unnamed program as another role (PostgreSQL's pid 41)",
        ),
        (replace(READ, holder_pid=None), None),
    ],
)
def test_names_the_reader_of_a_slot(slot: Slot, held_by: str | None) -> None:
    assert slot.held_by == held_by


@pytest.fixture
def warehouse(provisioned: ProvisionedServer) -> Iterator[Connection]:
    """The superuser's session in the warehouse, with a slot that was made now."""
    with psycopg.connect(provisioned.server.url("diabetes"), autocommit=True) as connection:
        drop_slot(connection)
        ensure_slot(connection)
        yield connection


@pytest.fixture
def debezium(provisioned: ProvisionedServer) -> Iterator[Connection]:
    with psycopg.connect(provisioned.url("debezium"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def consumer(
    provisioned: ProvisionedServer, warehouse: Connection, tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A real consumer of the slot, as `debezium`, that has begun to read."""
    options = [f"--slot={SLOT}", "--start", f"--file={tmp_path / 'changes'}", "--no-loop"]
    decoding = ["--option=proto_version=1", f"--option=publication_names={PUBLICATION}"]
    login = f"--dbname={provisioned.url('debezium')}?application_name=another%20connector"
    command = [str(binary("pg_recvlogical")), *options, *decoding, login]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not is_read(warehouse):
            assert process.poll() is None
            time.sleep(0.02)
        yield process
        process.terminate()


def is_read(connection: Connection) -> bool:
    slot = read_slot(connection)
    return slot is not None and slot.holder_pid is not None


@pytest.mark.integration
@pytest.mark.usefixtures("consumer")
def test_rejects_a_second_consumer_and_names_the_first(
    warehouse: Connection, debezium: Connection
) -> None:
    for connection in (warehouse, debezium):
        slot = read_slot(connection)
        assert slot is not None
        assert slot.held_by == (
            f"another connector as debezium (PostgreSQL's pid {slot.holder_pid})"
        )
    read = "SELECT * FROM pg_logical_slot_get_binary_changes(%s, NULL, NULL, VARIADIC %s)"
    options = ["proto_version", "1", "publication_names", PUBLICATION]
    with pytest.raises(ObjectInUse, match=f'"{SLOT}" is active for PID {slot.holder_pid}'):
        debezium.execute(read, (SLOT, options))
    with pytest.raises(ObjectInUse, match="is active"):
        drop_slot(warehouse)


def changes(connection: Connection) -> list[tuple[str, bytes]]:
    """What a consumer would get now: position and message of each change; none is confirmed."""
    peek = "SELECT lsn, data FROM pg_logical_slot_peek_binary_changes(%s, NULL, NULL, VARIADIC %s)"
    options = {"proto_version": "1", "publication_names": PUBLICATION, "messages": "true"}
    arguments = [word for option in options.items() for word in option]
    return connection.execute(peek, (SLOT, arguments)).fetchall()


def write_events(provisioned: ProvisionedServer, mebibytes: int) -> None:
    """Write into Dagster's database, as its processes do all the time, about so much log."""
    with psycopg.connect(provisioned.url("dagster")) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS events (event text)")
        connection.execute(
            "INSERT INTO events SELECT repeat(md5(i::text), 32) FROM generate_series(1, %s) i",
            (mebibytes * 1000,),
        )


def kept(connection: Connection) -> float:
    """MiB of log that the slot retains."""
    return cast("Slot", read_slot(connection)).kept / MIB


@pytest.mark.integration
def test_a_heartbeat_advances_the_slot_without_changes(
    provisioned: ProvisionedServer, warehouse: Connection, debezium: Connection
) -> None:
    write_events(provisioned, mebibytes=20)
    warehouse.execute("CHECKPOINT")
    assert changes(debezium) == [], "nothing whose position a consumer could confirm"
    assert kept(warehouse) > 20

    debezium.execute("SELECT pg_logical_emit_message(false, 'diabetes_cdc', '')")
    # The server reads the log as far as it is flushed, here by the WAL writer within 0.2 s.
    while not (read := changes(debezium)):
        time.sleep(0.02)
    ((position, message),) = read
    assert message.startswith(b"M")
    debezium.execute("SELECT pg_replication_slot_advance(%s, %s)", (SLOT, position))

    assert kept(warehouse) < 1


SMALL = FAST | CAPTURE | {"max_wal_size": "32MB", "min_wal_size": "32MB"}
LIMIT = {"max_slot_wal_keep_size": "32MB"}
NO_LIMIT = {"max_slot_wal_keep_size": "-1"}


@pytest.mark.integration
def test_an_absent_consumer_cannot_fill_the_disk(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "data", free_port(), "secret", settings=SMALL | NO_LIMIT)
    with server:
        provisioned = provision(server)
        with psycopg.connect(server.url("diabetes"), autocommit=True) as warehouse:
            write_events(provisioned, mebibytes=150)
            warehouse.execute("CHECKPOINT")
            assert log_on_disk(warehouse) > 150, "without a limit the slot keeps everything"

    limited = Postgres(server.data_dir, server.port, "secret", settings=SMALL | LIMIT)
    with limited, psycopg.connect(server.url("diabetes"), autocommit=True) as warehouse:
        warehouse.execute("CHECKPOINT")
        on_disk = [log_on_disk(warehouse)]
        for _ in range(15):
            write_events(provisioned, mebibytes=10)
            on_disk.append(log_on_disk(warehouse))
        assert max(on_disk) <= 96, "the limit, max_wal_size, and what one checkpoint lets pass"
        lost = cast("Slot", read_slot(warehouse))
        assert (lost.wal_status, lost.invalidation_reason) == ("lost", "wal_removed")
        assert restart(provisioned).wal_status == "reserved"


def restart(provisioned: ProvisionedServer) -> Slot:
    """The slot after one more start of the platform."""
    return provisioned.set_up()


def log_on_disk(connection: Connection) -> float:
    """MiB in `pg_wal`."""
    row = connection.execute("SELECT sum(size)::float8 FROM pg_ls_waldir()").fetchone()
    assert row is not None
    return float(row[0]) / MIB
