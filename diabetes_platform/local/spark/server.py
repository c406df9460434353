"""Apache Spark's Connect server on this machine, for who needs it without the whole platform.

The supervisor starts the same command through `serve_spark`; the embedded default needs neither.
"""

import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.ports import HOST, free_port, require_free
from diabetes_platform.local.processes import (
    dying_with_parent,
    last_line,
    require_alive,
    spawn,
    stop_group,
)
from diabetes_platform.local.spark.serve import SparkProcess, connect_server
from diabetes_platform.settings import PROJECT_ROOT

INFRA = PROJECT_ROOT / "infra"
READY_SECONDS = 120.0
STOP_SECONDS = 10.0


class SparkConnectServer:
    """A Spark Connect server with Delta Lake on `127.0.0.1`, warm until it is stopped.

    `tools` is where Spark is installed. `environment` is the caller's: PATH or JAVA_HOME, and the
    `AWS_*` variables for S3. `java_options` come after those in `infra/spark`. A port of None
    takes a free one. `state` is where its working directory and log lie, `tools` unless given.
    """

    def __init__(
        self,
        tools: Path,
        environment: Mapping[str, str],
        *,
        port: int | None = None,
        state: Path | None = None,
        java_options: tuple[str, ...] = (),
    ) -> None:
        self._tools = tools
        self._environment = environment
        self._java_options = java_options
        self._state = state or tools
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port or free_port()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def remote(self) -> str:
        """The URL for `SPARK_REMOTE`."""
        return f"sc://{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """Where the server's output goes."""
        return self._state / "logs" / f"{self._server.name}.log"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """Start the server and wait until it listens; PlatformError says why it does not."""
        server = self._server
        require_free(self.port, server.name)
        java = find_java(self._environment)
        command = server.command(java, self._java_options)
        server.prepare()
        self._process = spawn(
            [*dying_with_parent(signal.SIGTERM), *command],
            log=self.log,
            environment=server.environment(self._own_environment(server.work)),
            directory=server.work,
        )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server and what it started; does nothing where none runs."""
        process, self._process = self._process, None
        if process is not None:
            stop_group(process, grace=STOP_SECONDS)

    @property
    def _server(self) -> SparkProcess:
        return connect_server(self._tools, INFRA, self._state / "run" / "spark-connect", self.port)

    def _own_environment(self, work: Path) -> dict[str, str]:
        aws = {k: v for k, v in self._environment.items() if k.startswith("AWS_")}
        path = self._environment.get("PATH", "")
        return {"PATH": path, "HOME": str(work), "LC_ALL": "C.UTF-8", **aws}

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            require_alive(process, self._server.name, self.log)
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.settimeout(1.0)
                if probe.connect_ex((HOST, self.port)) == 0:
                    return
            time.sleep(0.1)
        raise PlatformError(
            f"{self._server.name} was not ready after {READY_SECONDS:.0f} s: {last_line(self.log)}"
        )
