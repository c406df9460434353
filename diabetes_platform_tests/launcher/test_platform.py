"""One home, one launcher: who holds it, and the PostgreSQL that a command starts for itself."""

import os
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.layout import Layout
from diabetes_platform.launcher.platform import (
    Platform,
    exclusive,
    is_running,
    running_platform,
)
from diabetes_platform.launcher.postgres import running_server
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings


def test_a_second_launcher_is_told_who_holds_the_home(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert not is_running(layout)
    with exclusive(layout):
        assert is_running(layout)
        with (
            pytest.raises(
                LauncherError, match=rf"already runs in {tmp_path} \(pid {os.getpid()}\)"
            ),
            exclusive(layout),
        ):
            pytest.fail("two launchers in one home")
    assert not is_running(layout)
    with exclusive(layout):
        pass


def test_a_managed_warehouse_replaces_the_platforms_own(tmp_path: Path) -> None:
    url = "postgresql://ada@warehouse.example/diabetes"
    platform = Platform(PlatformSettings(home=tmp_path, warehouse_url=SecretStr(url)))
    assert platform.warehouse_url == url
    assert platform.environment["PLATFORM_WAREHOUSE_URL"] == url
    assert platform.environment["DAGSTER_POSTGRES_URL"].endswith("/dagster")


def test_only_services_that_need_them_get_the_databases(tmp_path: Path) -> None:
    platform = Platform(PlatformSettings(home=tmp_path, warehouse_password=SecretStr("let me in")))
    assert "let%20me%20in" in platform.environment["PLATFORM_WAREHOUSE_URL"]
    assert "PLATFORM_WAREHOUSE_URL" not in platform.public_environment


@pytest.mark.integration
def test_a_command_starts_postgresql_for_itself_and_stops_it(settings: PlatformSettings) -> None:
    layout = Layout.of(settings)
    with running_platform(settings) as platform:
        with psycopg.connect(platform.warehouse_url) as connection:
            connection.execute("SELECT FROM serving.promotions")
        assert (layout.dagster / "dagster.yaml").resolve() == PROJECT_ROOT / "dagster.yaml"
        assert os.environ["DAGSTER_HOME"] == str(layout.dagster)
        assert is_running(layout)
    assert running_server(layout.postgres) is None
    assert not is_running(layout)


@pytest.mark.integration
def test_a_command_uses_the_running_platform_and_leaves_it_running(
    settings: PlatformSettings,
) -> None:
    with running_platform(settings) as first, running_platform(settings) as second:
        assert second.warehouse_url == first.warehouse_url
        assert second.postgres.pid is None, "not its own server"
    with running_platform(settings) as first:
        with running_platform(settings):
            pass
        assert running_server(first.layout.postgres) is not None
