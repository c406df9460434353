"""`diabetes lake check` and `diabetes lake repair` in the lake of a home."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from diabetes_platform.errors import FailedError
from diabetes_platform.lake.delta import Lake
from diabetes_platform.local.commands.lake import TOPICS, check, repair, repair_lake
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.capture import Kafka
from diabetes_platform_tests.intakes import changed, stream
from diabetes_platform_tests.streaming.sink import own_topic


def output_of(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.fixture
def console() -> Console:
    return Console(file=StringIO(), width=300)


def test_names_and_repairs_a_damaged_entry(settings: PlatformSettings, console: Console) -> None:
    lake = Lake(settings.lake)
    check(settings, console)
    stream(lake, changed(1, 1))
    stream(lake, changed(2, 2))
    newest = Path(settings.lake) / "stream" / "patients" / "_delta_log" / f"{2:020}.json"
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.raises(FailedError, match=r"stream/patients: version 2 of 2 is cut off"):
        check(settings, console)
    with pytest.raises(FailedError, match="nothing was moved: without Kafka, its messages cannot"):
        repair(settings, console)
    repair(settings, console, accept_loss=True)
    assert "set aside; the table has version 1" in output_of(console)
    check(settings, console)
    repair(settings, console)
    assert "no damage in the logs of 10 tables" in output_of(console)


@pytest.mark.integration
def test_moves_nothing_if_kafka_no_longer_has_the_messages(
    settings: PlatformSettings, console: Console, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, servers = Lake(settings.lake), kafka.bootstrap_servers
    for number in range(3):
        stream(lake, changed(number + 1, number))
    log = Path(settings.lake) / "stream" / "patients" / "_delta_log"
    entry = log / f"{2:020}.json"
    entry.write_bytes(entry.read_bytes()[:100])
    with own_topic(kafka) as name:
        monkeypatch.setitem(TOPICS, "stream/patients", name)
        # The entries are of a topic with another id.
        expected = rf"version 2 of 3 is cut off .* no longer has 1 offsets of {name}: 0:2-2"
        with pytest.raises(FailedError, match=expected):
            repair_lake(lake, servers, console)
        assert entry.exists()
        repair_lake(lake, servers, console, accept_loss=True)
    assert f"no longer has 1 offsets of {name}: 0:2-2" in output_of(console)
    assert not entry.exists()
    check(settings, console)


def test_reports_what_it_cannot_repair(settings: PlatformSettings, console: Console) -> None:
    stream(Lake(settings.lake), changed(1, 1))
    first = Path(settings.lake) / "stream" / "patients" / "_delta_log" / f"{0:020}.json"
    first.write_bytes(b"")
    with pytest.raises(FailedError, match="it is the first version: restore the table"):
        repair(settings, console)
