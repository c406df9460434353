"""Apache Spark's Connect server on this machine: starting it, stopping it.

The embedded default needs none of this: Sail runs inside the Python process.
"""

import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.install.java import find_java
from diabetes_platform.launcher.ports import HOST, free_port, require_free
from diabetes_platform.launcher.processes import (
    dying_with_parent,
    last_line,
    require_alive,
    spawn,
    stop_group,
)
from diabetes_platform.settings import PROJECT_ROOT

SERVICE = "spark-connect"
CONF_DIR = PROJECT_ROOT / "infra" / "local" / "spark"
READY_SECONDS = 120.0
STOP_SECONDS = 10.0
_SERVER_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"


@dataclass(frozen=True, slots=True)
class SparkInstallation:
    """Where Spark's distribution and the jars beside it lie below the platform's `home`."""

    home: Path

    @property
    def venv(self) -> Path:
        """The environment that holds the distribution."""
        return self.home / "venvs" / "spark"

    @property
    def jars(self) -> Path:
        """Delta Lake's jars."""
        return self.home / "jars" / "spark"

    def spark_home(self) -> Path:
        """Return the distribution's directory; LauncherError where it is not installed."""
        found = list(self.venv.glob("lib/python*/site-packages/pyspark/bin/spark-submit"))
        if not found:
            raise LauncherError(f"{SERVICE}: Apache Spark is not installed in {self.venv}")
        return found[0].parents[1]


class SparkConnectServer:
    """A Spark Connect server with Delta Lake on `127.0.0.1`, warm until it is stopped.

    `environment` is the caller's, of which PATH and JAVA_HOME are used. `memory` is the JVM's heap
    as Java writes it. A port of None takes a free one. `state` is where its working directory and
    log lie, the installation's home unless given.
    """

    def __init__(
        self,
        installation: SparkInstallation,
        environment: Mapping[str, str],
        *,
        port: int | None = None,
        state: Path | None = None,
        memory: str = "2g",
        java_options: str = "-XX:+UseSerialGC",
    ) -> None:
        self._installation = installation
        self._environment = environment
        self._memory = memory
        self._java_options = java_options
        self._state = state or installation.home
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
        return self._state / "logs" / f"{SERVICE}.log"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """Start the server and wait until it listens; LauncherError says why it does not."""
        require_free(self.port, SERVICE)
        java = find_java(self._environment)
        work = self._state / "run" / SERVICE
        (work / "tmp").mkdir(parents=True, exist_ok=True)
        self._process = spawn(
            [*dying_with_parent(signal.SIGTERM), *self._command(work)],
            log=self.log,
            environment=self._server_environment(java, work),
            directory=work,
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

    def _command(self, work: Path) -> list[str]:
        jars = ":".join(str(jar) for jar in sorted(self._installation.jars.glob("*.jar")))
        if not jars:
            raise LauncherError(f"{SERVICE}: no jars in {self._installation.jars}")
        options = f"{self._java_options} -Djava.io.tmpdir={work / 'tmp'} -Duser.timezone=UTC"
        settings = {
            "spark.connect.grpc.binding.port": str(self.port),
            "spark.sql.warehouse.dir": str(work / "warehouse"),
        }
        submit = str(self._installation.spark_home() / "bin" / "spark-submit")
        command = [submit, "--class", _SERVER_CLASS, "--name", SERVICE]
        command += ["--driver-memory", self._memory, "--driver-class-path", jars]
        command += ["--driver-java-options", options]
        for name, value in settings.items():
            command += ["--conf", f"{name}={value}"]
        return [*command, "spark-internal"]

    def _server_environment(self, java: Path, work: Path) -> dict[str, str]:
        return {
            "PATH": self._environment.get("PATH", ""),
            "HOME": str(work),
            "JAVA_HOME": str(java.parents[1]),
            "SPARK_HOME": str(self._installation.spark_home()),
            "SPARK_CONF_DIR": str(CONF_DIR),
            "SPARK_LOCAL_IP": HOST,
            "SPARK_LOCAL_DIRS": str(work / "tmp"),
            "PYSPARK_PYTHON": str(self._installation.venv / "bin" / "python"),
            "LC_ALL": "C.UTF-8",
        }

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            require_alive(process, SERVICE, self.log)
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.settimeout(1.0)
                if probe.connect_ex((HOST, self.port)) == 0:
                    return
            time.sleep(0.1)
        raise LauncherError(
            f"{SERVICE} was not ready after {READY_SECONDS:.0f} s: {last_line(self.log)}"
        )
