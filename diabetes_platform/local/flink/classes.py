"""Archives of the classes that Flink's programs load, recorded while its client runs a real job.

With them a start takes a third less CPU time. The JVM checks whether an archive fits, and does
without one that does not.
"""

import asyncio
import shutil
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from diabetes_platform.clients.errors import ServiceError
from diabetes_platform.clients.flink import FlinkCluster
from diabetes_platform.local.flink.client import Client, smoke
from diabetes_platform.local.flink.distribution import (
    CLIENT,
    PROGRAMS,
    SERVERS,
    FlinkHome,
    Program,
    Server,
)
from diabetes_platform.local.install.recording import (
    Recorded,
    end,
    require_archive,
    wait_until_ready,
)
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.local.processes import dying_with_parent, spawn, stop_group


async def record(home: FlinkHome, java: Path, environment: Mapping[str, str]) -> None:
    """Start both servers, run the smoke job, stop them, keep the three archives.

    `environment` is the caller's. Raises PlatformError with the last line of a server that does
    not start, or that says why the job failed.
    """
    scratch = home.root / "recording"
    scratch.mkdir()
    ports = {name: free_port() for name in ("rest", "jobmanager.rpc", "blob.server")}
    cluster = FlinkCluster(f"http://{HOST}:{ports['rest']}")
    started: list[Recorded] = []
    try:
        for server in SERVERS:
            command = [*dying_with_parent(signal.SIGTERM), str(java)]
            command += _options(home, server, scratch, ports)
            variables = {**environment, **home.variables}
            log = _log(home, server)
            process = spawn(command, log=log, environment=variables)
            started.append(Recorded(f"Flink's {server.name}", process, log))
        await wait_until_ready(partial(_complete, cluster), started)
        client = Client(home, java, environment, recording=home.archive(CLIENT))
        # Its checkpoint needs no object store here.
        kept = {"execution.checkpointing.dir": (scratch / "checkpoints").as_uri()}
        await asyncio.to_thread(smoke, client, cluster, **kept)
        await end(started)
        for program in PROGRAMS:
            name, log = f"Flink's {program.name}", _log(home, program)
            require_archive(home.archive(program), name, log)
    finally:
        for recorded in started:
            stop_group(recorded.process, grace=0)
        shutil.rmtree(scratch)


def _options(home: FlinkHome, server: Server, scratch: Path, ports: Mapping[str, int]) -> list[str]:
    recording = [f"-Djava.io.tmpdir={scratch}", f"-XX:ArchiveClassesAtExit={home.archive(server)}"]
    here = [option for name, port in ports.items() for option in ("-D", f"{name}.port={port}")]
    return [*recording, f"@{home.arguments(server)}", *here]


async def _complete(cluster: FlinkCluster) -> bool:
    try:
        # A TaskManager is known a moment before its slots are.
        return cluster.overview().slots_available > 0
    except ServiceError:
        return False


def _log(home: FlinkHome, program: Program) -> Path:
    return home.tools.log(f"flink-{program.name}")
