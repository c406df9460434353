"""The server that the connector captures: recognised by its identity and by the end of its log."""

import os
import re
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest

from diabetes_platform.contract.topics import MAX_EPOCH
from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.warehouse.capture import (
    Capture,
    ServerPosition,
    current_capture,
    first_capture,
    next_capture,
    read_position,
    replacement,
    restored,
)
from diabetes_platform_tests.conftest import FAST
from diabetes_platform_tests.provisioned import ProvisionedServer

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NEW_YEAR_MS = 1_767_225_600_000
"""2026-01-01, UTC."""
SERVER = ServerPosition(7_000_000_000_000_000_001, 1, 5_000)
CAPTURED: Mapping[str, str] = {"tasks.max": "1", **Capture(str(SERVER), 3).settings}
OLD_RELEASE = {"tasks.max": "1"}


def position(lsn: int, checkpoint: int, started: int = 1) -> ServerPosition:
    """A position of SERVER."""
    return ServerPosition(SERVER.system_identifier, 1, lsn, checkpoint, started)


@pytest.mark.parametrize(
    ("config", "offset_lsn", "server", "reason"),
    [
        pytest.param(CAPTURED, 4_000, SERVER, None, id="the same server"),
        pytest.param(CAPTURED, 5_000, SERVER, None, id="its whole log was read"),
        pytest.param(CAPTURED, None, SERVER, None, id="nothing was read yet"),
        pytest.param(OLD_RELEASE, 4_000, SERVER, None, id="set up by an earlier release"),
        pytest.param(
            CAPTURED, 4_000, ServerPosition(7_000_000_000_000_000_002, 1, 9_000),
            "captured 7000000000000000001/1", id="rebuilt, its log is longer already",
        ),
        pytest.param(
            CAPTURED, 4_000, ServerPosition(7_000_000_000_000_000_002, 1, 100),
            "is server 7000000000000000002/1", id="rebuilt",
        ),
        pytest.param(
            CAPTURED, 4_000, ServerPosition(7_000_000_000_000_000_001, 2, 9_000),
            "is server 7000000000000000001/2", id="a standby was promoted, or a point in time",
        ),
        pytest.param(
            CAPTURED, 5_001, SERVER, r"offset 5,001 is ahead .* ends at 5,000",
            id="a copy of the data directory was restored",
        ),
        pytest.param(OLD_RELEASE, 5_001, SERVER, "older state", id="the same, by an old release"),
    ],
)  # fmt: skip
def test_recognises_another_server(
    config: Mapping[str, str], offset_lsn: int | None, server: ServerPosition, reason: str | None
) -> None:
    actual = replacement(config, offset_lsn, server)
    assert (actual is None) == (reason is None)
    assert reason is None or re.search(reason, actual or "")


def test_continues_an_epoch_whose_start_was_interrupted() -> None:
    interrupted = Capture("", 9_000, "rebuilt", NEW_YEAR_MS).settings
    later = NEW_YEAR_MS + DAY_MS
    assert (
        replacement(interrupted, None, SERVER) == replacement(interrupted, 1, SERVER) == "rebuilt"
    )
    expected = Capture(str(SERVER), 9_000, "rebuilt", later)
    assert next_capture(interrupted, SERVER, "rebuilt", later) == expected
    first_start = first_capture(later).settings
    assert replacement(first_start, 1, SERVER) == "its first start was interrupted"
    assert next_capture(first_start, SERVER, "interrupted", later).reason == ""


def test_an_epoch_is_later_than_every_earlier_one_also_after_connect_lost_its_state() -> None:
    now = NEW_YEAR_MS + 333 * DAY_MS
    assert first_capture(now) == Capture("", 333 * 24)
    assert next_capture(OLD_RELEASE, SERVER, "rebuilt", now).epoch == 333 * 24
    config: Mapping[str, str] = OLD_RELEASE
    for minutes in (0, 10):  # two replacements on one day
        capture = next_capture(config, SERVER, "rebuilt", now + minutes * 60_000)
        config = {**OLD_RELEASE, **capture.settings}
    assert capture.epoch == 333 * 24 + 1
    assert first_capture(now + 2 * HOUR_MS).epoch > capture.epoch, "after Connect lost its state"
    assert first_capture(NEW_YEAR_MS + 59 * 365 * DAY_MS).epoch < MAX_EPOCH
    assert first_capture(3 * NEW_YEAR_MS).epoch == MAX_EPOCH
    last = Capture(str(SERVER), MAX_EPOCH).settings
    assert next_capture(last, SERVER, "rebuilt", now).epoch == MAX_EPOCH
    assert first_capture(0).epoch == 1, "a clock that is wrong"


@pytest.mark.parametrize(
    ("server", "is_restored"),
    [
        pytest.param(position(6_000, checkpoint=4_000), False, id="it went on"),
        pytest.param(position(5_000, checkpoint=4_000), False, id="nothing was written"),
        pytest.param(position(6_000, 5_000, started=2), False, id="it was restarted, or crashed"),
        pytest.param(position(6_000, 5_900, started=2), False, id="the same, and a checkpoint"),
        pytest.param(position(4_999, 4_900, started=2), True, id="restored"),
        pytest.param(position(6_000, 4_900, started=2), True, id="restored, its log has grown"),
        pytest.param(position(4_999, 4_900), True, id="restored in place"),
    ],
)
def test_recognises_that_the_server_lost_a_part_of_its_log(
    server: ServerPosition, is_restored: bool
) -> None:
    assert (restored(5_000, 1, server) is not None) == is_restored


def test_the_configuration_records_the_capture() -> None:
    for capture in (Capture("7/1", 0), Capture("7/1", 4, "rebuilt", NEW_YEAR_MS)):
        assert current_capture({**OLD_RELEASE, **capture.settings}, SERVER) == capture
    assert current_capture(OLD_RELEASE, SERVER) == Capture(str(SERVER), 0)
    assert all(isinstance(value, str) for value in Capture("7/1", 4, "rebuilt").settings.values())


def test_a_new_epoch_is_news_for_ten_minutes() -> None:
    capture = Capture("7/1", 4, "rebuilt", NEW_YEAR_MS)
    assert capture.started_recently(NEW_YEAR_MS)
    assert capture.started_recently(NEW_YEAR_MS + 599_999)
    assert not capture.started_recently(NEW_YEAR_MS + 600_000)
    assert not Capture("7/1", 0).started_recently(1)


@pytest.mark.integration
@pytest.mark.parametrize("role", ["debezium", "pipeline"])
def test_every_role_that_needs_it_reads_the_position(
    provisioned: ProvisionedServer, role: str
) -> None:
    with psycopg.connect(provisioned.url(role), autocommit=True) as connection:
        first, second = read_position(connection), read_position(connection)
    assert str(first) == str(second)
    assert first.timeline == 1
    assert 0 < first.lsn <= second.lsn
    assert first.started == second.started > NEW_YEAR_MS * 1_000
    assert 0 < first.checkpoint <= second.lsn


@pytest.mark.integration
def test_a_restart_and_a_crash_lose_nothing_and_an_older_copy_does(tmp_path: Path) -> None:
    directory, copy = tmp_path / "data", tmp_path / "copy"
    with Postgres(directory, free_port(), "secret", settings=FAST) as server:
        before = write_log(server)
    shutil.copytree(directory, copy)
    with Postgres(directory, free_port(), "secret", settings=FAST) as server:
        after_restart = write_log(server)
        assert restored(before.lsn, before.started, after_restart) is None
        assert server.pid is not None
        os.kill(server.pid, signal.SIGQUIT)  # an immediate shutdown, without a checkpoint
    with Postgres(directory, free_port(), "secret", settings=FAST) as server:
        after_crash = write_log(server)
    assert restored(after_restart.lsn, after_restart.started, after_crash) is None
    shutil.rmtree(directory)
    copy.rename(directory)
    with Postgres(directory, free_port(), "secret", settings=FAST) as server:
        grown = write_log(server, until=after_crash.lsn)
    assert grown.lsn > after_crash.lsn
    assert "restored from an older state" in str(
        restored(after_crash.lsn, after_crash.started, grown)
    )


def write_log(server: Postgres, until: int = 0) -> ServerPosition:
    """Write some log, at least up to `until`, and return the position."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("SELECT pg_logical_emit_message(true, 'test', repeat('x', 100000))")
        while (position := read_position(connection)).lsn <= until:
            connection.execute("SELECT pg_logical_emit_message(true, 'test', repeat('x', 100000))")
    return position
