"""`diabetes logs`: the logs of the services."""

import os
import shutil
from pathlib import Path

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.home import HomeLayout

LARGEST = 20 * 2**20
"""The size in bytes above which a log is rotated when the platform starts."""


def show_logs(layout: HomeLayout, service: str | None, *, lines: int, follow: bool) -> None:
    """Replace this process by `tail` of one log or of all; PlatformError if none exists."""
    tail = shutil.which("tail")
    if tail is None:
        raise PlatformError(f"`tail` is missing; the logs are {layout.log('*')}")
    command = [tail, "-n", str(lines), *(["-F"] if follow else [])]
    os.execv(tail, [*command, *map(str, select_logs(layout, service))])  # noqa: S606 - no shell


def rotate_large_logs(layout: HomeLayout) -> None:
    """Rename every log that is larger than LARGEST to `.log.1`."""
    for path in layout.log("*").parent.glob("*.log"):
        if path.stat().st_size > LARGEST:
            path.replace(path.with_suffix(".log.1"))


def select_logs(layout: HomeLayout, service: str | None) -> list[Path]:
    """Return the log of `service`, or all logs; raises PlatformError if none exists."""
    logs = {path.stem: path for path in sorted(layout.log("*").parent.glob("*.log"))}
    if not logs:
        raise PlatformError(f"no logs in {layout.log('*').parent}: nothing has been started yet")
    if service is None:
        return list(logs.values())
    if service not in logs:
        raise PlatformError(f"no log of {service}; available: {', '.join(logs)}")
    return [logs[service]]
