"""Logs: the one that is asked for, and none that grows for ever."""

from pathlib import Path

import pytest

from diabetes_platform.local.commands.logs import LARGEST, rotate_large_logs, select_logs
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.home import HomeLayout


@pytest.fixture
def layout(tmp_path: Path) -> HomeLayout:
    made = HomeLayout(tmp_path)
    made.log("kafka").parent.mkdir()
    for name in ("kafka", "postgres"):
        made.log(name).write_text("started")
    return made


def test_one_log_or_all_of_them(layout: HomeLayout) -> None:
    assert select_logs(layout, "kafka") == [layout.log("kafka")]
    assert select_logs(layout, None) == [layout.log("kafka"), layout.log("postgres")]


def test_an_unknown_service_is_refused_with_those_that_are_there(layout: HomeLayout) -> None:
    with pytest.raises(PlatformError, match="no log of redis; available: kafka, postgres"):
        select_logs(layout, "redis")


def test_where_nothing_was_started_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="nothing has been started yet"):
        select_logs(HomeLayout(tmp_path), None)


def test_a_log_that_has_grown_large_begins_anew(layout: HomeLayout) -> None:
    with layout.log("kafka").open("wb") as file:
        file.truncate(LARGEST + 1)
    rotate_large_logs(layout)
    assert not layout.log("kafka").exists()
    assert layout.log("kafka").with_suffix(".log.1").stat().st_size == LARGEST + 1
    assert layout.log("postgres").read_text() == "started"
