"""The demo's services besides PostgreSQL: how each is started, known to be ready, and stopped."""

import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from diabetes_platform.local.errors import LauncherError
from diabetes_platform.local.home import Layout
from diabetes_platform.local.ports import HOST, require_free
from diabetes_platform.local.processes import (
    dying_with_parent,
    require_alive,
    signal_group,
    spawn,
    stop_group,
    wait_all,
)
from diabetes_platform.settings import (
    PROJECT_ROOT,
    PlatformSettings,
    Port,
)

STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Service:
    """`ready_url` answers 2xx once the service can be used; a service without port has none."""

    name: str
    command: tuple[str, ...]
    port: int | None = None
    ready_url: str | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A started service."""

    service: Service
    process: subprocess.Popen[bytes]
    log: Path


def api(settings: PlatformSettings, layout: Layout) -> Service:
    """Return the prediction API, in its own environment without Spark and Dagster."""
    port = settings.port(Port.API)
    command = (str(layout.serving_python), "-m", "serving.app")
    return Service("api", command, port, f"http://{HOST}:{port}/ready")


def code_server(settings: PlatformSettings, layout: Layout) -> Service:
    """Return Dagster's code server, which the webserver and the daemon share."""
    port = settings.port(Port.DAGSTER_CODE)
    module = "diabetes_platform.local.dagster.code_server"
    command = (layout.program("python"), "-m", module, "--host", HOST, "--port", str(port))
    return Service("dagster-code", command, port)


def webserver(settings: PlatformSettings, layout: Layout) -> Service:
    """Return Dagster's UI."""
    port = settings.port(Port.DAGSTER)
    command = (layout.program("dagster-webserver"), "-w", str(layout.workspace), "-h", HOST)
    # Else it would use connections of before a restart of the database.
    fresh = ("--db-pool-recycle", "1")
    ready = f"http://{HOST}:{port}/server_info"
    return Service("dagster-webserver", (*command, *fresh, "-p", str(port)), port, ready)


def daemon(layout: Layout) -> Service:
    """Return Dagster's daemon: schedules, sensors, run queue and run monitoring."""
    command = (layout.program("dagster-daemon"), "run", "-w", str(layout.workspace))
    return Service("dagster-daemon", command)


def start(service: Service, layout: Layout, environment: Mapping[str, str]) -> Running:
    """Start `service`; raises LauncherError where its port is taken or its program missing."""
    if service.port is not None:
        require_free(service.port, service.name)
    if not Path(service.command[0]).exists():
        raise LauncherError(f"{service.name}: {service.command[0]} is missing: run `make demo`")
    log = layout.log(service.name)
    command = [*dying_with_parent(signal.SIGTERM), *service.command]
    process = spawn(command, log=log, environment=environment, directory=PROJECT_ROOT)
    return Running(service, process, log)


def wait_until_ready(running: Running, seconds: float, url: str | None = None) -> None:
    """Wait until the service answers; raises LauncherError where it ends or does not.

    `url` is asked instead of the service's `ready_url` where less will do.
    """
    url = url or running.service.ready_url
    if url is None:
        return
    deadline = time.monotonic() + seconds
    answer = "it does not answer"
    with httpx.Client(trust_env=False, timeout=2.0) as client:
        while time.monotonic() < deadline:
            require_alive(running.process, running.service.name, running.log)
            try:
                response = client.get(url)
            except httpx.TransportError as error:
                answer = f"it does not answer ({error})"
            else:
                if response.is_success:
                    return
                answer = f"it answers {response.status_code}: {response.text[:200]}"
            time.sleep(0.05)
    raise LauncherError(
        f"{running.service.name} was not ready after {seconds:.0f} s: {answer} (log: {running.log})"
    )


def wait_until_listening(running: Running, seconds: float) -> None:
    """Wait until something answers at the service's port; raises LauncherError like the other."""
    service = running.service
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        require_alive(running.process, service.name, running.log)
        with socket.socket() as probe:
            if probe.connect_ex((HOST, service.port or 0)) == 0:
                return
        time.sleep(0.05)
    raise LauncherError(
        f"{service.name} was not ready after {seconds:.0f} s: nothing listens on port "
        f"{service.port} (log: {running.log})"
    )


def stop_all(services: list[Running]) -> None:
    """Ask all to end at once, then end by force what is left after the time of grace."""
    processes = [running.process for running in services]
    for process in processes:
        if process.poll() is None:
            signal_group(process.pid, signal.SIGTERM)
    wait_all(processes, STOP_SECONDS)
    for process in processes:
        stop_group(process, grace=0.0)
