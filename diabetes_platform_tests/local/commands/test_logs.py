"""`diabetes logs`: selecting logs, and rotating large ones."""

from pathlib import Path

import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.commands.logs import LARGEST, rotate_large_logs, select_logs
from diabetes_platform.local.home import HomeLayout


@pytest.fixture
def layout(tmp_path: Path) -> HomeLayout:
    layout = HomeLayout(tmp_path)
    layout.log("kafka").parent.mkdir()
    for name in ("kafka", "postgres"):
        layout.log(name).write_text("started")
    return layout


def test_selects_one_log_or_all(layout: HomeLayout) -> None:
    assert select_logs(layout, "kafka") == [layout.log("kafka")]
    assert select_logs(layout, None) == [layout.log("kafka"), layout.log("postgres")]


def test_rejects_an_unknown_service_with_the_available_ones(layout: HomeLayout) -> None:
    with pytest.raises(PlatformError, match="no log of redis; available: kafka, postgres"):
        select_logs(layout, "redis")


def test_fails_if_nothing_was_started(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="nothing has been started yet"):
        select_logs(HomeLayout(tmp_path), None)


def test_rotates_a_large_log(layout: HomeLayout) -> None:
    with layout.log("kafka").open("wb") as file:
        file.truncate(LARGEST + 1)
    rotate_large_logs(layout)
    assert not layout.log("kafka").exists()
    assert layout.log("kafka").with_suffix(".log.1").stat().st_size == LARGEST + 1
    assert layout.log("postgres").read_text() == "started"
