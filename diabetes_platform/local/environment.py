"""The environment variables of the processes of the platform."""

import os
from collections.abc import Mapping

from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.ports import HOST
from diabetes_platform.settings import PlatformSettings, Port

WAREHOUSE_URL = "PLATFORM_WAREHOUSE_URL"
READER_URL = "PLATFORM_READER_URL"
DAGSTER_POSTGRES_URL = "DAGSTER_POSTGRES_URL"
_SECRET = (WAREHOUSE_URL, READER_URL, "PLATFORM_WAREHOUSE_PASSWORD", DAGSTER_POSTGRES_URL)
_LONGEST_SOCKET_PATH = 103
"""The limit of macOS, which is the shortest one."""
_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "DAGSTER_HOME", "PYTHONDONTWRITEBYTECODE")


def child_environment(
    settings: PlatformSettings,
    secrets: Mapping[str, str] | None = None,
    *,
    inherited: Mapping[str, str],
) -> dict[str, str]:
    """Return the environment of a process: `inherited`, with state and caches below the home.

    `secrets` are additional variables. Secrets in `inherited` are dropped.
    """
    layout = HomeLayout.of(settings)
    kept = {k: v for k, v in inherited.items() if k not in _SECRET and k not in _FOREIGN}
    cache = layout.home / "cache"
    # Dagster creates sockets in TMPDIR; below the home they are cleaned up, if the path fits.
    fits = len(str(layout.temporary / "tmp_in_8_hex")) <= _LONGEST_SOCKET_PATH
    unproxied = kept.get("NO_PROXY", kept.get("no_proxy", "")).split(",")
    return {
        **kept,
        "PLATFORM_HOME": str(layout.home),
        "PLATFORM_PORT_OFFSET": str(settings.port_offset),
        "DAGSTER_HOME": str(layout.dagster),
        "DAGSTER_CODE_HOST": HOST,
        "DAGSTER_CODE_PORT": str(settings.port(Port.DAGSTER_CODE)),
        "DAGSTER_COMPUTE_LOGS": str(layout.dagster / "compute_logs"),
        **({"TMPDIR": str(layout.temporary)} if fits else {}),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "GX_ANALYTICS_ENABLED": "false",
        # Otherwise Sail logs each session between the progress lines.
        "RUST_LOG": kept.get("RUST_LOG", "error"),
        # PostgreSQL's clients would wait for two minutes for a server that does not respond.
        "PGCONNECT_TIMEOUT": "10",
        "MPLBACKEND": "agg",
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        "XDG_CACHE_HOME": str(cache),
        "XDG_CONFIG_HOME": str(layout.home / "config"),
        "XDG_DATA_HOME": str(layout.home / "data"),
        # A proxy cannot reach the services of this machine.
        "NO_PROXY": ",".join(dict.fromkeys([*filter(None, unproxied), HOST, "localhost"])),
        **(secrets or {}),
    }


def enter(environment: Mapping[str, str]) -> None:
    """Add `environment` to the environment of this process, before a library reads it."""
    os.environ.update(environment)
