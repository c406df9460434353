"""Archives of the classes that Kafka's broker and Connect load, recorded from one start of both.

With them a start takes a third less CPU time. The JVM checks whether an archive fits, and does
without one that does not.
"""

import signal
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from diabetes_platform.local.connect.serve import worker
from diabetes_platform.local.install.recording import (
    Recorded,
    end,
    require_archive,
    wait_until_ready,
)
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.local.jvm import JavaServer, archive_path, archives
from diabetes_platform.local.kafka.data import prepare
from diabetes_platform.local.kafka.serve import broker, format_command
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.local.processes import dying_with_parent, spawn, stop_group
from diabetes_platform.settings import PROJECT_ROOT

INFRA = PROJECT_ROOT / "infra"

Say = Callable[[str], None]


def is_current(tools: Tools, java: Path) -> bool:
    """Whether both archives were made with these jars, these options and this Java."""
    return all(_archive(tools, server, java).exists() for server in _servers(tools))


async def install(tools: Tools, java: Path, environment: Mapping[str, str], say: Say) -> None:
    """Make both archives anew and remove the old ones; Kafka's jars are there already.

    `environment` is the caller's. Raises PlatformError with the last line of a server that does
    not start.
    """
    say("recording the classes that Kafka and Connect load")
    directory = archives(tools.root)
    directory.mkdir(parents=True, exist_ok=True)
    # Other servers' archives lie beside them.
    for server in _servers(tools):
        for old in directory.glob(f"{server.name}-*.jsa"):
            old.unlink()
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        await _Recording(tools, java, Path(scratch), environment).record()


class _Recording:
    """One start of a broker and a worker of its own, on free ports, in the directory `scratch`."""

    def __init__(
        self, tools: Tools, java: Path, scratch: Path, environment: Mapping[str, str]
    ) -> None:
        self._tools, self._java, self._scratch = tools, java, scratch
        self._connect = f"http://{HOST}:{(connect := free_port())}"
        self._environment = {
            **environment,
            "KAFKA_HOST": HOST,
            "KAFKA_PORT": str(free_port()),
            "KAFKA_CONTROLLER_PORT": str(free_port()),
            "KAFKA_DATA": str(scratch / "data"),
            "CONNECT_HOST": HOST,
            "CONNECT_PORT": str(connect),
        }
        self._started: list[tuple[JavaServer, Recorded]] = []

    async def record(self) -> None:
        """Start both, wait until Connect works on the broker, end both, keep their archives."""
        kafka, connect = _servers(self._tools)
        # Both start at once: the worker waits for the broker.
        prepare(self._scratch / "data", ["env", *self._format(kafka)])
        try:
            self._start(kafka)
            self._start(connect)
            await wait_until_ready(self._healthy, [each for _, each in self._started])
            for server, recorded in reversed(self._started):
                await self._end(server, recorded)
        finally:
            for _, recorded in self._started:
                stop_group(recorded.process, grace=0)

    def _format(self, kafka: JavaServer) -> list[str]:
        names = ("KAFKA_HOST", "KAFKA_PORT", "KAFKA_CONTROLLER_PORT")
        variables = [f"{name}={self._environment[name]}" for name in names]
        return [*variables, *format_command(kafka, self._java)]

    def _start(self, server: JavaServer) -> None:
        options = [f"-XX:ArchiveClassesAtExit={self._new(server)}"]
        command = [*dying_with_parent(signal.SIGTERM), *server.command(self._java, options)]
        log = self._tools.log(server.name)
        process = spawn(command, log=log, environment=self._environment, directory=self._tools.root)
        self._started.append((server, Recorded(server.name, process, log)))

    async def _healthy(self) -> bool:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            try:
                return (await client.get(f"{self._connect}/health")).is_success
            except httpx.TransportError:
                return False

    async def _end(self, server: JavaServer, recorded: Recorded) -> None:
        await end([recorded])
        new = self._new(server)
        require_archive(new, recorded.name, recorded.log)
        new.rename(_archive(self._tools, server, self._java))

    def _new(self, server: JavaServer) -> Path:
        return self._scratch / f"{server.name}.jsa"


def _servers(tools: Tools) -> tuple[JavaServer, JavaServer]:
    return broker(tools.root, INFRA), worker(tools.root, INFRA)


def _archive(tools: Tools, server: JavaServer, java: Path) -> Path:
    return archive_path(server, java, archives(tools.root))
