"""`diabetes lake check` and `diabetes lake repair` in the lake of a home."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from diabetes_platform.lake.delta import Lake
from diabetes_platform.local.commands.lake import check, repair
from diabetes_platform.local.errors import FailedError
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.intakes import changed, stream


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
    repair(settings, console)
    assert "set aside; the table has version 1" in output_of(console)
    check(settings, console)
    repair(settings, console)
    assert "no damage in the logs of 10 tables" in output_of(console)


def test_reports_what_it_cannot_repair(settings: PlatformSettings, console: Console) -> None:
    stream(Lake(settings.lake), changed(1, 1))
    first = Path(settings.lake) / "stream" / "patients" / "_delta_log" / f"{0:020}.json"
    first.write_bytes(b"")
    with pytest.raises(FailedError, match="it is the first version: restore the table"):
        repair(settings, console)
