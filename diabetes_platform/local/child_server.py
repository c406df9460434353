"""Servers as child processes of a command: start, readiness, stop."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.ports import listens, require_free
from diabetes_platform.local.processes import (
    dying_with_parent,
    require_alive,
    spawn,
    stop_groups,
)
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PROJECT_ROOT

STOP_SECONDS = 5.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Server:
    """A server's command; `ready_url` answers 2xx once the server can be used."""

    name: str
    command: tuple[str, ...]
    port: int | None = None
    ready_url: str | None = None


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that was started."""

    server: Server
    process: subprocess.Popen[bytes]
    log: Path


def start(server: Server, layout: HomeLayout, environment: Mapping[str, str]) -> RunningServer:
    """Start `server`; raises PlatformError if its port is in use or its program is missing."""
    if server.port is not None:
        require_free(server.port, server.name)
    if not Path(server.command[0]).exists():
        raise PlatformError(f"{server.name}: {server.command[0]} is missing: run `make demo`")
    log = layout.log(server.name)
    command = [*dying_with_parent(signal.SIGTERM), *server.command]
    process = spawn(command, log=log, environment=environment, directory=PROJECT_ROOT)
    return RunningServer(server, process, log)


def wait_until_ready(running: RunningServer, seconds: float, url: str | None = None) -> None:
    """Wait until the server answers 2xx at `url`, by default at its `ready_url`.

    Without a URL, waits until it listens on its port. Raises PlatformError with the last answer
    after `seconds`, or as soon as the server ends.
    """
    server = running.server
    url = url or server.ready_url
    answer = ""

    with httpx.Client(trust_env=False, timeout=2.0) as client:

        def is_ready() -> bool:
            nonlocal answer
            require_alive(running.process, server.name, running.log)
            if url is None:
                answer = f"nothing listens on port {server.port}"
                return listens(server.port or 0)
            try:
                response = client.get(url)
            except httpx.TransportError as error:
                answer = f"no answer ({error})"
                return False
            answer = f"it answers {response.status_code}: {response.text[:200]}"
            return response.is_success

        try:
            wait_until(is_ready, timeout=seconds, interval=_POLL_SECONDS)
        except TimeoutError:
            message = f"{server.name} was not ready after {seconds:.0f} s: {answer}"
            raise PlatformError(f"{message} (log: {running.log})") from None


def stop_all(servers: Sequence[RunningServer]) -> None:
    """Terminate all servers at the same time, and kill those that survive a grace period."""
    stop_groups([running.process for running in servers], grace=STOP_SECONDS)
