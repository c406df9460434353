"""The `diabetes` command as users run it, in a separate process with its own home and ports."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.ports import require_free
from diabetes_platform.local.postgres.data import running_server
from diabetes_platform.local.processes import dying_with_parent
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, Port

PROGRAM = str(Path(sys.executable).parent / "diabetes")
LARGEST_OFFSET = 17_000
"""With a larger offset, the highest port would be in the range of ephemeral ports."""


def free_offset() -> int:
    """Return an offset at which all of the platform's ports are free."""
    while True:
        offset = 1 + secrets.randbelow(LARGEST_OFFSET)
        try:
            for port in Port:
                require_free(port + offset, "the test")
        except PlatformError:
            continue
        return offset


def command(settings: PlatformSettings, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start `diabetes <arguments>` with the home and the ports of `settings`."""
    return subprocess.Popen(
        [*dying_with_parent(signal.SIGTERM), PROGRAM, *arguments],
        env=_environment(settings, variables),
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def stopped_when_killed(settings: PlatformSettings) -> Iterator[None]:
    """Stop the platform of `settings` if this process ends within the block, however it ends.

    A killed worker of a test run cannot run its fixtures' clean-up.
    """
    # The end of this process closes the pipe. The end of the block writes a line into it.
    script = 'read -r _ || exec "$0" down >/dev/null 2>&1'
    with subprocess.Popen(
        ["sh", "-c", script, PROGRAM],
        env=_environment(settings, {}),
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        start_new_session=True,
    ) as guard:
        yield
        guard.communicate(b"done\n")


@contextmanager
def serving_demo(settings: PlatformSettings) -> Iterator[subprocess.Popen[str]]:
    """Start the demo, yield it once it serves, and end it as Ctrl-C does."""
    with command(settings, "demo") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Serving until"):
                break
        yield process
        process.send_signal(signal.SIGINT)


def assert_nothing_runs(settings: PlatformSettings) -> None:
    """Check that no service of this demo listens any more."""
    for port in (Port.API, Port.DAGSTER, Port.DAGSTER_CODE, Port.POSTGRES):
        require_free(settings.port(port), "the test")
    assert running_server(HomeLayout.of(settings).postgres) is None


def _environment(settings: PlatformSettings, variables: Mapping[str, str]) -> dict[str, str]:
    return {
        **os.environ,
        "PLATFORM_HOME": str(settings.home),
        "PLATFORM_PORT_OFFSET": str(settings.port_offset),
        "COLUMNS": "200",
        **variables,
    }


def finish(process: subprocess.Popen[str], seconds: float = 300) -> tuple[int, str]:
    """Wait for the end of a process; return its exit code and its output."""
    with process:
        output, _ = process.communicate(timeout=seconds)
    return process.returncode, output
