"""`diabetes logs`: what a service printed, and what it prints now."""

import os
import shutil
from pathlib import Path

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.home import Layout

LARGEST = 20 * 2**20
"""Bytes; asked when the platform starts."""


def show_logs(layout: Layout, service: str | None, *, lines: int, follow: bool) -> None:
    """Become `tail` on one service's log, or on all; raises PlatformError that names the logs."""
    tail = shutil.which("tail")
    if tail is None:
        raise PlatformError(f"`tail` is missing; the logs are {layout.log('*')}")
    command = [tail, "-n", str(lines), *(["-F"] if follow else [])]
    os.execv(tail, [*command, *map(str, chosen(layout, service))])  # noqa: S606 - no shell


def set_aside_large_logs(layout: Layout) -> None:
    """Let a log begin anew that has grown beyond LARGEST; the one before it is kept."""
    for path in layout.log("*").parent.glob("*.log"):
        if path.stat().st_size > LARGEST:
            path.replace(path.with_suffix(".log.1"))


def chosen(layout: Layout, service: str | None) -> list[Path]:
    """Return the logs to show: one service's, or every one that is there."""
    there = {path.stem: path for path in sorted(layout.log("*").parent.glob("*.log"))}
    if not there:
        raise PlatformError(f"no logs in {layout.log('*').parent}: nothing has been started yet")
    if service is None:
        return list(there.values())
    if service not in there:
        raise PlatformError(f"no log of {service}; there are {', '.join(there)}")
    return [there[service]]
