"""A Spark Connect server as a child process, without the rest of the platform.

The supervisor starts the same command with `diabetes_platform/local/spark/serve.py`.
"""

import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.ports import HOST, free_port, listens, require_free
from diabetes_platform.local.processes import (
    dying_with_parent,
    last_line,
    require_alive,
    spawn,
    stop_group,
)
from diabetes_platform.local.spark.serve import SparkProcess, connect_server
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PROJECT_ROOT

INFRA = PROJECT_ROOT / "infra"
READY_SECONDS = 120.0
STOP_SECONDS = 10.0


class SparkConnectServer:
    """A Spark Connect server with Delta Lake on 127.0.0.1.

    `tools` is the directory with the Spark installation. `environment` provides PATH or JAVA_HOME,
    and the `AWS_*` variables for S3. `java_options` follow those in `infra/spark`. Without a
    `port`, a free one is used. `state` contains the working directory and the log, by default
    `tools`. `master` is the URL of a cluster; without it, the server computes itself.
    """

    def __init__(
        self,
        tools: Path,
        environment: Mapping[str, str],
        *,
        port: int | None = None,
        state: Path | None = None,
        java_options: tuple[str, ...] = (),
        master: str | None = None,
    ) -> None:
        self._tools = tools
        self._environment = environment
        self._java_options = java_options
        self._master = master
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
        """The log of the server."""
        return self._state / "logs" / f"{self._server.name}.log"

    @property
    def pid(self) -> int | None:
        """The process id of the server while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """Start the server and wait until it listens; raises PlatformError if it does not."""
        server = self._server
        require_free(self.port, server.name)
        java = find_java(self._environment)
        command = server.command(java, self._java_options)
        server.prepare()
        self._process = spawn(
            [*dying_with_parent(signal.SIGTERM), *command],
            log=self.log,
            environment=server.environment(self._inherited_environment(server.work)),
            directory=server.work,
        )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server and its children; does nothing if it does not run."""
        process, self._process = self._process, None
        if process is not None:
            stop_group(process, grace=STOP_SECONDS)

    @property
    def _server(self) -> SparkProcess:
        work = self._state / "run" / "spark-connect"
        return connect_server(self._tools, INFRA, work, self.port, self._master)

    def _inherited_environment(self, work: Path) -> dict[str, str]:
        aws = {k: v for k, v in self._environment.items() if k.startswith("AWS_")}
        path = self._environment.get("PATH", "")
        return {"PATH": path, "HOME": str(work), "LC_ALL": "C.UTF-8", **aws}

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        def is_listening() -> bool:
            require_alive(process, self._server.name, self.log)
            return listens(self.port)

        try:
            wait_until(is_listening, timeout=READY_SECONDS)
        except TimeoutError:
            name, seconds = self._server.name, f"{READY_SECONDS:.0f} s"
            message = f"{name} was not ready after {seconds}: {last_line(self.log)}"
            raise PlatformError(message) from None
