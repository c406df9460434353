"""Archives of the classes that Flink's programs load, recorded while its client runs a real job.

With them a start takes a third less CPU time. The JVM checks whether an archive fits, and does
without one that does not.
"""

import asyncio
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.flink_cluster import FlinkCluster
from diabetes_platform.launcher.flink_distribution import (
    CLIENT,
    PROGRAMS,
    SERVERS,
    FlinkHome,
    Program,
    Server,
)
from diabetes_platform.launcher.flink_jobs import Client, smoke
from diabetes_platform.launcher.ports import HOST, free_port
from diabetes_platform.launcher.processes import (
    dying_with_parent,
    require_alive,
    signal_group,
    spawn,
    stop_group,
    wait_all,
)

READY_SECONDS = 120.0
WRITING_SECONDS = 60.0
"""An archive is written when its JVM has been asked to end."""
_POLL_SECONDS = 0.2

Processes = dict[Server, subprocess.Popen[bytes]]


async def record(home: FlinkHome, java: Path, environment: Mapping[str, str]) -> None:
    """Start both servers, run the smoke job, stop them, keep the three archives.

    `environment` is the caller's. Raises LauncherError with the last line of a server that does
    not start, or that says why the job failed.
    """
    scratch = home.root / "recording"
    scratch.mkdir()
    ports = {name: free_port() for name in ("rest", "jobmanager.rpc", "blob.server")}
    cluster = FlinkCluster(f"http://{HOST}:{ports['rest']}")
    started: Processes = {}
    try:
        for server in SERVERS:
            command = [*dying_with_parent(signal.SIGTERM), str(java)]
            command += _options(home, server, scratch, ports)
            variables = {**environment, **home.variables}
            started[server] = spawn(command, log=_log(home, server), environment=variables)
        await _wait_for_each_other(home, cluster, started)
        client = Client(home, java, environment, recording=home.archive(CLIENT))
        # Its checkpoint needs no object store here.
        kept = {"execution.checkpointing.dir": (scratch / "checkpoints").as_uri()}
        await asyncio.to_thread(smoke, client, cluster, **kept)
        await _end(started)
        _require_archives(home)
    finally:
        for process in started.values():
            stop_group(process, grace=0)
        shutil.rmtree(scratch)


def _options(home: FlinkHome, server: Server, scratch: Path, ports: Mapping[str, int]) -> list[str]:
    recording = [f"-Djava.io.tmpdir={scratch}", f"-XX:ArchiveClassesAtExit={home.archive(server)}"]
    here = [option for name, port in ports.items() for option in ("-D", f"{name}.port={port}")]
    return [*recording, f"@{home.arguments(server)}", *here]


async def _wait_for_each_other(home: FlinkHome, cluster: FlinkCluster, started: Processes) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not _complete(cluster):
        for server, process in started.items():
            require_alive(process, f"Flink's {server.name}", _log(home, server))
        if time.monotonic() > deadline:
            logs = ", ".join(str(_log(home, server)) for server in SERVERS)
            raise LauncherError(f"Flink was not ready after {READY_SECONDS:.0f} s (logs: {logs})")
        await asyncio.sleep(_POLL_SECONDS)


def _complete(cluster: FlinkCluster) -> bool:
    try:
        # A TaskManager is known a moment before its slots are.
        return cluster.overview().slots_available > 0
    except LauncherError:
        return False


async def _end(started: Processes) -> None:
    for process in started.values():
        signal_group(process.pid, signal.SIGTERM)
    await asyncio.to_thread(wait_all, list(started.values()), WRITING_SECONDS)


def _require_archives(home: FlinkHome) -> None:
    for program in PROGRAMS:
        if not home.archive(program).exists():
            log = _log(home, program)
            raise LauncherError(
                f"Flink's {program.name} left no archive of its classes (log: {log})"
            )


def _log(home: FlinkHome, program: Program) -> Path:
    return home.tools.log(f"flink-{program.name}")
