"""The `diabetes` command as a person runs it: a process of its own, a home and ports of its own."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.ports import require_free
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, Port

LARGEST_OFFSET = 17_000
"""Above it, the largest port would be one that the system gives away by itself."""


def free_offset() -> int:
    """An offset at which all of the platform's ports are free."""
    while True:
        offset = 1 + secrets.randbelow(LARGEST_OFFSET)
        try:
            for port in Port:
                require_free(port + offset, "the test")
        except LauncherError:
            continue
        return offset


def command(settings: PlatformSettings, *arguments: str, **more: str) -> subprocess.Popen[str]:
    """Start `diabetes <arguments>` on the home and the ports of `settings`."""
    variables = {
        "PLATFORM_HOME": str(settings.home),
        "PLATFORM_PORT_OFFSET": str(settings.port_offset),
        **more,
    }
    return subprocess.Popen(
        [str(Path(sys.executable).parent / "diabetes"), *arguments],
        env={**os.environ, **variables, "COLUMNS": "200"},
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 300) -> tuple[int, str]:
    """Wait for its end and return its exit code and all that it printed."""
    with process:
        output, _ = process.communicate(timeout=seconds)
    return process.returncode, output
