"""The server that the connector captures: recognised by its identity and by the end of its log."""

import re
from collections.abc import Mapping

import psycopg
import pytest

from diabetes_platform.warehouse.capture import (
    Capture,
    ServerPosition,
    current_capture,
    first_capture,
    next_capture,
    read_position,
    replacement,
)
from diabetes_platform_tests.provisioned import ProvisionedServer

DAY_MS = 86_400_000
NEW_YEAR_MS = 1_767_225_600_000
"""2026-01-01, UTC."""
SERVER = ServerPosition(7_000_000_000_000_000_001, 1, 5_000)
CAPTURED: Mapping[str, str] = {"tasks.max": "1", **Capture(str(SERVER), 3).settings}
OLD_RELEASE = {"tasks.max": "1"}


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


def test_an_epoch_is_later_than_every_earlier_one_also_after_connect_lost_its_state() -> None:
    today = NEW_YEAR_MS + 333 * DAY_MS
    assert first_capture(SERVER, has_patients=False, now_ms=today).epoch == 0
    assert first_capture(SERVER, has_patients=True, now_ms=today).epoch == 333
    assert next_capture(OLD_RELEASE, SERVER, "rebuilt", today).epoch == 333
    later = Capture(str(SERVER), 400).settings
    assert next_capture(later, SERVER, "rebuilt", today).epoch == 401
    last = Capture(str(SERVER), 2**15 - 1).settings
    assert next_capture(last, SERVER, "rebuilt", today).epoch == 2**15 - 1
    assert first_capture(SERVER, has_patients=True, now_ms=0).epoch == 1, "a clock that is wrong"


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
