"""The `diabetes` command as a person runs it: a process of its own, a home and ports of its own."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from diabetes_platform.local.errors import LauncherError
from diabetes_platform.local.home import Layout
from diabetes_platform.local.ports import require_free
from diabetes_platform.local.postgres.data import running_server
from diabetes_platform.local.processes import dying_with_parent
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, Port

PROGRAM = str(Path(sys.executable).parent / "diabetes")
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
    return subprocess.Popen(
        [*dying_with_parent(signal.SIGTERM), PROGRAM, *arguments],
        env=_environment(settings, more),
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def stopped_when_killed(settings: PlatformSettings) -> Iterator[None]:
    """Stop the platform of `settings` where this process ends within the block, however it ends.

    A worker of an interrupted test run is killed before its fixtures can do it.
    """
    # The pipe's end comes with the end of this process, a line of text with the block's.
    script = 'read -r _ || exec "$0" down >/dev/null 2>&1'
    with subprocess.Popen(
        ["sh", "-c", script, PROGRAM],
        env=_environment(settings, {}),
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        start_new_session=True,
    ) as guard:
        yield
        guard.communicate(b"left\n")


@contextmanager
def serving_demo(settings: PlatformSettings) -> Iterator[subprocess.Popen[str]]:
    """Start the demo, yield it once it serves, end it as Ctrl-C does."""
    with command(settings, "demo") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Serving until"):
                break
        yield process
        process.send_signal(signal.SIGINT)


def assert_nothing_runs(settings: PlatformSettings) -> None:
    """Check that nothing of the demo of these settings listens any more."""
    for port in (Port.API, Port.DAGSTER, Port.DAGSTER_CODE, Port.POSTGRES):
        require_free(settings.port(port), "the test")
    assert running_server(Layout.of(settings).postgres) is None


def _environment(settings: PlatformSettings, more: Mapping[str, str]) -> dict[str, str]:
    return {
        **os.environ,
        "PLATFORM_HOME": str(settings.home),
        "PLATFORM_PORT_OFFSET": str(settings.port_offset),
        "COLUMNS": "200",
        **more,
    }


def finish(process: subprocess.Popen[str], seconds: float = 300) -> tuple[int, str]:
    """Wait for its end and return its exit code and all that it printed."""
    with process:
        output, _ = process.communicate(timeout=seconds)
    return process.returncode, output
