"""The environment of processes: state and caches below the home, no unneeded secrets."""

from pathlib import Path

from diabetes_platform.local.environment import child_environment
from diabetes_platform.settings import PlatformSettings

SETTINGS = PlatformSettings(home=Path("/srv/home"), port_offset=100)
CALLER = {
    "PATH": "/bin",
    "HOME": "/home/ada",
    "PLATFORM_SOURCE": "/data/patients.csv",
    "PLATFORM_WAREHOUSE_PASSWORD": "from the caller",
    "DAGSTER_HOME": "/home/ada/dagster",
    "VIRTUAL_ENV": "/home/ada/venv",
    "no_proxy": "intranet",
}


def test_passes_on_the_settings_of_the_caller() -> None:
    environment = child_environment(SETTINGS, inherited=CALLER)
    assert environment["PLATFORM_SOURCE"] == "/data/patients.csv"
    assert environment["PLATFORM_PORT_OFFSET"] == "100"
    assert environment["PLATFORM_HOME"] == "/srv/home"


def test_drops_variables_of_another_python_environment() -> None:
    environment = child_environment(SETTINGS, inherited=CALLER)
    assert "VIRTUAL_ENV" not in environment
    assert environment["DAGSTER_HOME"] == "/srv/home/dagster"


def test_dagster_gets_its_code_server_and_compute_logs() -> None:
    environment = child_environment(SETTINGS, inherited={})
    address = environment["DAGSTER_CODE_HOST"], environment["DAGSTER_CODE_PORT"]
    assert address == ("127.0.0.1", "4366")
    assert environment["DAGSTER_COMPUTE_LOGS"] == "/srv/home/dagster/compute_logs"


def test_caches_are_below_the_home() -> None:
    environment = child_environment(SETTINGS, inherited={})
    directories = [v for k, v in environment.items() if k.startswith(("XDG_", "MPLCONFIG"))]
    assert len(directories) == 4
    assert all(directory.startswith("/srv/home/") for directory in directories)


def test_disables_telemetry() -> None:
    environment = child_environment(SETTINGS, inherited={})
    assert environment["GX_ANALYTICS_ENABLED"] == "false"
    assert environment["DAGSTER_DISABLE_TELEMETRY"] == "yes"


def test_drops_inherited_secrets() -> None:
    environment = child_environment(SETTINGS, inherited=CALLER)
    assert "from the caller" not in environment.values()
    with_secret = child_environment(SETTINGS, {"PLATFORM_WAREHOUSE_URL": "url"}, inherited=CALLER)
    assert with_secret["PLATFORM_WAREHOUSE_URL"] == "url"


def test_bypasses_the_proxy_for_this_machine() -> None:
    environment = child_environment(SETTINGS, inherited=CALLER)
    assert environment["NO_PROXY"] == "intranet,127.0.0.1,localhost"


def test_sockets_are_below_the_home_if_the_path_is_short_enough() -> None:
    deep = PlatformSettings(home=Path("/srv") / ("deep" * 30))
    assert child_environment(SETTINGS, inherited={})["TMPDIR"] == "/srv/home/run/tmp"
    assert "TMPDIR" not in child_environment(deep, inherited={})
