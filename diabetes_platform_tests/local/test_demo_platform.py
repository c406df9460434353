"""The demo platform: private, with a PostgreSQL that is shared or started for one command."""

import os
import stat
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from diabetes_platform.local.demo_platform import DemoPlatform, running_demo_platform
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.locks import BusyError, HomeUse, home_holder, lock_home
from diabetes_platform.local.postgres.data import running_server
from diabetes_platform.settings import PlatformSettings


def test_a_managed_warehouse_replaces_the_own_postgresql(tmp_path: Path) -> None:
    url = "postgresql://ada@warehouse.example/diabetes"
    platform = DemoPlatform(PlatformSettings(home=tmp_path, warehouse_url=SecretStr(url)))
    assert platform.warehouse_url == url
    assert platform.environment["PLATFORM_WAREHOUSE_URL"] == url
    assert platform.environment["DAGSTER_POSTGRES_URL"].endswith("/dagster")


def test_the_public_environment_has_no_database_urls(tmp_path: Path) -> None:
    platform = DemoPlatform(
        PlatformSettings(home=tmp_path, warehouse_password=SecretStr("let me in"))
    )
    assert "let%20me%20in" in platform.environment["PLATFORM_WAREHOUSE_URL"]
    assert "PLATFORM_WAREHOUSE_URL" not in platform.public_environment


@pytest.mark.integration
def test_starts_and_stops_postgresql_for_one_command(settings: PlatformSettings) -> None:
    layout = HomeLayout.of(settings)
    with running_demo_platform(settings) as platform:
        with psycopg.connect(platform.warehouse_url) as connection:
            connection.execute("SELECT FROM serving.promotions")
        assert "compute_logs" not in (layout.dagster / "dagster.yaml").read_text(encoding="utf-8")
        assert os.environ["DAGSTER_HOME"] == str(layout.dagster)
        assert home_holder(layout) is not None
    assert running_server(layout.postgres) is None
    assert home_holder(layout) is None


@pytest.mark.integration
def test_shares_the_postgresql_of_a_running_demo(
    settings: PlatformSettings,
) -> None:
    demo = DemoPlatform(settings)
    with lock_home(demo.layout) as lock, demo.postgres:
        demo.enter()
        lock.announce(HomeUse.SHARED)
        for _ in range(2):
            with running_demo_platform(settings) as shared:
                assert shared.warehouse_url == demo.warehouse_url
                assert shared.postgres.pid is None, "uses a server of another command"
        assert running_server(demo.layout.postgres) is not None
        lock.announce(HomeUse.ALONE)
        with pytest.raises(BusyError), running_demo_platform(settings):
            pytest.fail("shared a demo that is stopping")


@pytest.mark.integration
def test_does_not_share_the_postgresql_of_another_command(
    settings: PlatformSettings,
) -> None:
    with (
        running_demo_platform(settings),
        pytest.raises(BusyError, match=rf"another command is running.*\(pid {os.getpid()}\): wait"),
        running_demo_platform(settings),
    ):
        pytest.fail("two commands share a server")


def test_only_the_owner_may_read_what_the_platform_writes(settings: PlatformSettings) -> None:
    home = settings.home / "new"
    lake = home / "lake"
    platform = DemoPlatform(settings.model_copy(update={"home": home}))
    with lock_home(platform.layout):
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        lake.mkdir(mode=0o755)
        platform.enter()
        (lake / "written").touch(mode=0o666)
    assert stat.S_IMODE(lake.stat().st_mode) == 0o700
    assert stat.S_IMODE((lake / "written").stat().st_mode) == 0o600


@pytest.mark.integration
@pytest.mark.parametrize(("password", "iterations"), [(None, "1"), (SecretStr("tulip"), "4096")])
def test_a_configured_password_gets_more_scram_iterations(
    settings: PlatformSettings, password: SecretStr | None, iterations: str
) -> None:
    platform = DemoPlatform(settings.model_copy(update={"warehouse_password": password}))
    with platform.postgres as server, psycopg.connect(server.url("postgres")) as connection:
        stored = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolcanlogin")
        ((verifier,),) = stored.fetchall()
    assert verifier.startswith(f"SCRAM-SHA-256${iterations}:")
