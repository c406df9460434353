"""A PostgreSQL server as a child process: start, stop, and creation of databases."""

import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.postgres.account import Account
from diabetes_platform.local.postgres.data import (
    environment,
    prepare,
    read_pid_file,
    server_command,
)
from diabetes_platform.local.processes import last_line, require_alive, spawn
from diabetes_platform.polling import wait_until
from diabetes_platform.provisioning.databases import SUPERUSER, connection_url
from diabetes_platform.provisioning.sessions import connected, ensure_database
from diabetes_platform.settings import PROJECT_ROOT

CONFIG_FILE = PROJECT_ROOT / "infra" / "postgres" / "postgresql.conf"
"""The settings of all servers; SETTINGS override them."""
START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0

SETTINGS: Mapping[str, str] = {
    # With `minimal` and no senders, COPY into a table of the same transaction skips the WAL.
    # This server needs no change data capture; the same data directory can be served with it.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    # All tables of the batch graph fit, and no other server needs the memory.
    "shared_buffers": "256MB",
    "maintenance_work_mem": "256MB",
}


class Postgres:
    """A PostgreSQL server on 127.0.0.1:`port` that requires `password` for every connection.

    `settings` override SETTINGS, which override CONFIG_FILE. `generated_password` means that the
    password is random, so that its verifier needs no iterations against guessing.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int,
        password: str,
        *,
        log: Path | None = None,
        settings: Mapping[str, str] | None = None,
        account: Account | None = None,
        generated_password: bool = False,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.port = port
        self.log = log or self.data_dir.with_name(f"{self.data_dir.name}.log")
        self.password = password
        self._settings = {**SETTINGS, "port": str(port), **(settings or {})}
        self._account = account
        self._generated_password = generated_password
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The running server's process id."""
        return self._server.pid if self._server else None

    @property
    def address(self) -> str:
        """The server's `host:port`."""
        return f"{HOST}:{self.port}"

    def url(self, database: str) -> str:
        """Return the connection URL of a database, password included."""
        return connection_url(SUPERUSER, self.password, self.address, database)

    def start(self) -> None:
        """Create the data directory if it is missing, start, and wait until the server is ready.

        Raises PlatformError if the port or the data directory cannot be used.
        """
        # Iterations slow down guessing, but also every connection; Dagster opens one per event.
        initdb_options = ["--set=scram_iterations=1"] if self._generated_password else []
        account = prepare(
            self.data_dir, self.port, lambda: self.password, initdb_options, account=self._account
        )
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        command = account.command(*server_command(self.data_dir, CONFIG_FILE), *options)
        self._server = spawn(command, log=self.log, environment=environment())
        try:
            self._wait_until_ready(self._server)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut down: roll back open transactions and write a checkpoint."""
        server, self._server = self._server, None
        if server is None or server.poll() is not None:
            return
        server.send_signal(signal.SIGINT)
        try:
            server.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            # The next start recovers from the write-ahead log.
            server.send_signal(signal.SIGQUIT)
            server.wait(STOP_TIMEOUT)

    def create_database(self, name: str, *, durable: bool = True) -> str:
        """Create the database if it is missing and return its URL; raises PlatformError."""
        with connected(self.url("postgres")) as connection:
            ensure_database(connection, name, durable=durable)
        return self.url(name)

    def _wait_until_ready(self, server: subprocess.Popen[bytes]) -> None:
        name = f"PostgreSQL on port {self.port}"

        def is_ready() -> bool:
            require_alive(server, name, self.log)
            pid_file = read_pid_file(self.data_dir)
            return pid_file is not None and pid_file.ready and pid_file.pid == server.pid

        try:
            wait_until(is_ready, timeout=START_TIMEOUT, interval=0.02)
        except TimeoutError:
            message = f"{name} was not ready after {START_TIMEOUT:.0f} s: {last_line(self.log)}"
            raise PlatformError(message) from None
