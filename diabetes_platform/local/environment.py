"""The environment of the platform's processes: the one place that composes it."""

import os
from collections.abc import Mapping
from pathlib import Path

from diabetes_platform.local.home import Layout
from diabetes_platform.local.ports import HOST
from diabetes_platform.settings import PlatformSettings, Port

WAREHOUSE_URL = "PLATFORM_WAREHOUSE_URL"
READER_URL = "PLATFORM_READER_URL"
DAGSTER_POSTGRES_URL = "DAGSTER_POSTGRES_URL"
_SECRET = (WAREHOUSE_URL, READER_URL, "PLATFORM_WAREHOUSE_PASSWORD", DAGSTER_POSTGRES_URL)
_LONGEST_SOCKET_PATH = 103
"""On the platform where it is shortest, macOS."""
_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "DAGSTER_HOME", "PYTHONDONTWRITEBYTECODE")


def child_environment(
    settings: PlatformSettings,
    secrets: Mapping[str, str] | None = None,
    *,
    inherited: Mapping[str, str],
) -> dict[str, str]:
    """Return the environment of a service: the caller's, with state and caches below home.

    `secrets` are further variables for the services that need them; without it none is passed
    on, not even the caller's own.
    """
    layout = Layout.of(settings)
    kept = {k: v for k, v in inherited.items() if k not in _SECRET and k not in _FOREIGN}
    cache = layout.home / "cache"
    return {
        **kept,
        "PLATFORM_HOME": str(layout.home),
        "PLATFORM_PORT_OFFSET": str(settings.port_offset),
        "DAGSTER_HOME": str(layout.dagster),
        "DAGSTER_CODE_HOST": HOST,
        "DAGSTER_CODE_PORT": str(settings.port(Port.DAGSTER_CODE)),
        "DAGSTER_COMPUTE_LOGS": str(layout.dagster / "compute_logs"),
        **_temporary(layout.temporary),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "GX_ANALYTICS_ENABLED": "false",
        # Sail tells of each session otherwise, in the midst of our own lines.
        "RUST_LOG": kept.get("RUST_LOG", "error"),
        "MPLBACKEND": "agg",
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        "XDG_CACHE_HOME": str(cache),
        "XDG_CONFIG_HOME": str(layout.home / "config"),
        "XDG_DATA_HOME": str(layout.home / "data"),
        "NO_PROXY": _without_proxy(kept.get("NO_PROXY", kept.get("no_proxy", ""))),
        **(secrets or {}),
    }


def enter(environment: Mapping[str, str]) -> None:
    """Make `environment` this process's own, before a library reads it."""
    os.environ.update(environment)


def _temporary(directory: Path) -> dict[str, str]:
    """Dagster leaves sockets behind where it is stopped early; a socket's path has a limit."""
    fits = len(str(directory / "tmp_in_8_hex")) <= _LONGEST_SOCKET_PATH
    return {"TMPDIR": str(directory)} if fits else {}


def _without_proxy(names: str) -> str:
    """A proxy cannot reach this machine's own services."""
    return ",".join(dict.fromkeys([*filter(None, names.split(",")), HOST, "localhost"]))
